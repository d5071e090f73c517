"""Many short tasks, each in a forked child of this process: a crash, a hang or a leak stays the child's own.

The parent imports what is slow (torch, pytest) once. It must stay single-threaded until then: after any multi-threaded
torch operation in the parent, forked children hang, which is why `warm` fixes one thread before anything runs.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from dojo.core.errors import UserError


@dataclass(frozen=True)
class TaskDied:
    """A task that gave no result, and why."""

    why: str  # "timed out after 20 s", "killed by SIGSEGV", "KeyError: 'x'"


def warm() -> None:
    """Imports what every child needs. Raises UserError where fork is not to be had."""
    if not hasattr(os, "fork"):
        raise UserError(
            "`kata dev verify` forks a warm process for each mutant and needs Linux or macOS; on Windows use WSL."
        )
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import jaxtyping  # noqa: F401
    import pytest  # noqa: F401
    import torch

    import dojo.engine.plugin
    import dojo.engine.summary
    import dojo.testing.checks  # noqa: F401

    torch.set_num_threads(1)
    torch.testing.assert_close(torch.ones(1), torch.ones(1))  # imports half a second of sympy
    import torch._dynamo

    gc.collect()
    gc.freeze()


def run_forked(tasks: Sequence[Callable[[], Any]], *, jobs: int, seconds: float) -> Iterator[tuple[int, Any]]:
    """Yields (index, result or TaskDied) as tasks end; at most `jobs` run at once, each for `seconds` at most."""
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Connection, tuple[int, Any, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, task = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(theirs, task), daemon=False)
                process.start()
                theirs.close()
                running[ours] = (index, process, time.monotonic() + seconds)
            soonest = min(deadline for _, _, deadline in running.values())
            for ready in wait(list(running), timeout=max(0.0, soonest - time.monotonic())):
                assert isinstance(ready, Connection)
                index, process, _ = running.pop(ready)
                yield index, _result(ready, process)
            for late in [c for c, (_, _, deadline) in running.items() if time.monotonic() >= deadline]:
                index, process, _ = running.pop(late)
                _stop(late, process)
                yield index, TaskDied(f"timed out after {seconds:g} s")
    finally:
        for connection, (_, process, _) in running.items():
            _stop(connection, process)


def _child(pipe: Connection, task: Callable[[], Any]) -> None:
    os.setsid()  # so that whatever it starts can be ended with it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        answer = task()
    except BaseException as error:
        answer = TaskDied(f"{type(error).__name__}: {error}")
    pipe.send_bytes(pickle.dumps(answer))
    pipe.close()
    os._exit(0)


def _result(pipe: Connection, process: Any) -> Any:
    try:
        answer = pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError, pickle.UnpicklingError):
        process.join()
        code = process.exitcode
        answer = TaskDied(
            f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exited with {code} and no result"
        )
    _stop(pipe, process)
    return answer


def _stop(pipe: Connection, process: Any) -> None:
    pipe.close()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.join()
