"""The warm process of dojo.engine.forkserver: takes jobs, forks for each, relays what the child says, and ends what it leaves."""

import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from dojo.core.paths import Checkout
from dojo.engine.messages import Diagnosed, Job, JobDied, Message, Ready, Running, Verdict
from dojo.engine.processes import become_subreaper, kill_descendants
from dojo.engine.worker import DEAF, run_job


@dataclass
class _Child:
    job: Job
    process: Any
    pipe: Connection
    deadline: float
    test: str = ""
    judged: bool = False
    nameless: bool = False  # names of mistakes are still to come
    unread: bytearray = field(default_factory=bytearray)

    def arrived(self) -> Iterator[Message]:
        """The messages that are here. Never waits for the rest of one: a kata may write anything into any file."""
        if os.name == "nt":
            yield self.pipe.recv()
            return
        part = os.read(self.pipe.fileno(), 2**20)
        if not part:
            raise EOFError
        self.unread += part
        while len(self.unread) >= 4:
            size = int.from_bytes(self.unread[:4], "big")
            if not 0 < size < 2**26:
                raise ValueError("no message is so long")
            if len(self.unread) < size + 4:
                break
            message = pickle.loads(self.unread[4 : size + 4])
            if not isinstance(message, Message):
                raise TypeError("no message")
            del self.unread[: size + 4]
            yield message


def serve(caller: Connection, checkout: Checkout, fork: bool) -> None:
    """The warm process: takes jobs from `caller`, relays what their children say, and ends with its caller."""
    _leave_the_terminal()
    adopts = become_subreaper()
    context = get_context("fork" if fork else "spawn")
    if fork:
        from dojo.engine.pool import warm

        warm()
    child: _Child | None = None
    try:
        caller.send(Ready("fork" if fork else "spawn"))
        while True:
            left = max(0.0, child.deadline - time.monotonic()) if child else None
            ready = wait([caller, *([child.pipe] if child else [])], timeout=left)
            if caller in ready:
                job = caller.recv()
                _end(child)
                _end_strays(adopts)
                if fork:
                    _warm_for(checkout, job)
                child = _begin(context, checkout, job)
            elif child and child.pipe in ready:
                child = _relay(caller, child)
                if not child:
                    _end_strays(adopts)
            elif child:
                _end(child)
                _end_strays(adopts)
                _lose(caller, child, f"was still running after {child.job.seconds:g} s")
                child = None
    except (EOFError, OSError):  # the caller has gone
        pass
    finally:
        _end(child)
        _end_strays(adopts)


def _begin(context: Any, checkout: Checkout, job: Job) -> _Child:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=run_job, args=(theirs, checkout, job))
    process.start()
    theirs.close()
    return _Child(job, process, ours, time.monotonic() + job.seconds)


def _relay(caller: Connection, child: _Child) -> _Child | None:
    try:
        for message in child.arrived():
            if isinstance(message, Running):
                child.test = message.test
            child.judged = child.judged or isinstance(message, Verdict | JobDied)
            if isinstance(message, Verdict):
                child.nameless = child.job.naming and any(o.verdict == "failed" for o in message.outcomes)
            elif isinstance(message, Diagnosed):
                child.nameless = False
            caller.send(message)
    except (EOFError, OSError):
        child.process.join(1)
        code = child.process.exitcode
        _end(child)
        _lose(caller, child, _why(code))
        return None
    except Exception:  # no message: the kata has written into the pipe
        _end(child)
        _lose(caller, child, "wrote into a file that is not its own, the trainer's pipe")
        return None
    return child


def _lose(caller: Connection, child: _Child, why: str) -> None:
    """The child has ended, or was ended: says so, unless it had told everything."""
    if not child.judged:
        caller.send(JobDied(child.job.number, why, child.test))
    elif child.nameless:  # it hung or crashed on the way to the name
        caller.send(Diagnosed(child.job.number, ()))


def _why(code: int | None) -> str:
    if code in (None, DEAF):
        return "closed a file that is not its own, the trainer's pipe"
    if code >= 0:
        return f"ended the process (exit code {code}) before its tests were through; look for exit() or os._exit()"
    name = signal.Signals(-code).name
    return {
        "SIGKILL": "was killed (SIGKILL), most likely because it used up the memory",
        "SIGSEGV": "crashed the interpreter (SIGSEGV)",
        "SIGABRT": "aborted the interpreter (SIGABRT)",
    }.get(name, f"was ended by {name}")


def _end(child: _Child | None) -> None:
    if child is None:
        return
    child.pipe.close()
    with suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(child.process.pid, signal.SIGKILL)  # whatever it has started goes with it
    child.process.kill()
    child.process.join()


def _end_strays(adopted: bool) -> None:
    """A daemon, say, left its kata's process group and came here when its parent ended."""
    if adopted:
        kill_descendants()


def _warm_for(checkout: Checkout, job: Job) -> None:
    """Imports what the kata's tests import besides the kata (scikit-learn takes a second), and the known evidence."""
    import ast
    import importlib

    from dojo.engine import diagnosis

    with suppress(Exception):
        tree = ast.parse(checkout.tests(job.kata).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name.partition(".")[0] not in ("katas", "tests", "solutions"):
                    importlib.import_module(name)
    with suppress(Exception):
        diagnosis.recall(checkout, job.kata, job.seed)


def _leave_the_terminal() -> None:
    """No keys, no Ctrl-C, nothing on the screen: these belong to the caller."""
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
