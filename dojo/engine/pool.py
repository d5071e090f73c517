"""Runs many short tasks, each in a forked child of this process, so that a crash, a hang or a leak harms nothing else.

Call `preload.preload()` first: children then start with torch and pytest imported.
"""

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dojo.core.errors import UserError
from dojo.engine.processes import ctrl_c_blocked, kill_group, signal_name, unblock_ctrl_c


@dataclass(frozen=True)
class TaskDied:
    """A task that gave no result."""

    why: str  # "timed out after 20 s", "killed by SIGSEGV", "KeyError: 'x'"


def require_fork() -> None:
    """Raises UserError on a system without fork."""
    if not hasattr(os, "fork"):
        raise UserError(
            "`kata dev verify` forks a process for each mutant and needs Linux or macOS; on Windows use WSL."
        )


def run_forked(tasks: Sequence[Callable[[], Any]], *, jobs: int, seconds: float) -> Iterator[tuple[int, Any]]:
    """Yields (index, result or TaskDied) as tasks end; at most `jobs` run at once, each for `seconds` at most."""
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Connection, tuple[int, BaseProcess, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, task = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_run_task, args=(theirs, task), daemon=False)
                with ctrl_c_blocked():  # until the process is one of `running`, nobody would stop it
                    process.start()
                    running[ours] = (index, process, time.monotonic() + seconds)
                theirs.close()
            soonest = min(deadline for _, _, deadline in running.values())
            for ready in wait(list(running), timeout=max(0.0, soonest - time.monotonic())):
                assert isinstance(ready, Connection)
                index, process, _ = running.pop(ready)
                yield index, _receive_result(ready, process)
            for late in [c for c, (_, _, deadline) in running.items() if time.monotonic() >= deadline]:
                index, process, _ = running.pop(late)
                _stop(late, process)
                yield index, TaskDied(f"timed out after {seconds:g} s")
    finally:
        for connection, (_, process, _) in running.items():
            _stop(connection, process)


def _run_task(pipe: Connection, task: Callable[[], Any]) -> None:
    os.setsid()  # it leads a process group, so that what it starts can be killed with it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock_ctrl_c()
    try:
        result = task()
    except BaseException as error:
        result = TaskDied(f"{type(error).__name__}: {error}")
    pipe.send_bytes(pickle.dumps(result))
    pipe.close()
    os._exit(0)


def _receive_result(pipe: Connection, process: BaseProcess) -> Any:
    try:
        result = pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError, pickle.UnpicklingError):
        process.join()
        code = process.exitcode
        died = f"killed by {signal_name(-code)}" if code and code < 0 else f"exited with {code} and no result"
        result = TaskDied(died)
    _stop(pipe, process)
    return result


def _stop(pipe: Connection, process: BaseProcess) -> None:
    pipe.close()
    if process.pid:
        kill_group(process.pid)
    process.kill()
    process.join()
