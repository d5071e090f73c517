"""A warm process that runs a kata's tests on request, each run in a child of its own.

The nursery imports torch and pytest once and forks for every job, so a verdict takes a tenth of a second and whatever
the kata does (hang, crash, print, eat memory, close its files) ends with its child. A newer job ends the one that is
running. Where fork is unsafe (Windows, and macOS with torch) children start cold; `Ready.kind` says which.

The caller talks to it through `Nursery`; the process ends when its caller does.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dojo.outcome import Outcome
from dojo.paths import Checkout

SECONDS = 20.0  # a right answer takes three at most
MEMORY = 4 * 2**30  # bytes beyond what the warm process holds
FILE = 64 * 2**20  # bytes that a kata may write into one file


@dataclass(frozen=True)
class Job:
    """Run the tests of `kata` against `target`/kata.py, up to `stage`; `number` comes back in every message."""

    number: int
    kata: str
    target: Path
    stage: int | None = None
    seed: int = 0
    seconds: float = SECONDS
    naming: bool = True


@dataclass(frozen=True)
class Ready:
    """The nursery is warm; `kind` is "fork" or "spawn"."""

    kind: str


@dataclass(frozen=True)
class Running:
    """A test of the job has begun."""

    number: int
    test: str
    done: int
    total: int


@dataclass(frozen=True)
class Failed:
    """The first wrong answer, told while the other tests still run."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """All tests of the job have run. `source` is the digest of the file that was tested."""

    number: int
    outcomes: tuple[Outcome, ...]
    expected: Mapping[str, int]
    source: str
    seconds: float

    @property
    def counted(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.verdict != "skipped")

    @property
    def passed(self) -> int:
        return sum(o.verdict == "passed" for o in self.outcomes)

    @property
    def all_passed(self) -> bool:
        return 0 < self.passed == len(self.counted)


@dataclass(frozen=True)
class Named:
    """After a failing verdict: the name and the sentence of each mistake that the code behaves like."""

    number: int
    mistakes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Lost:
    """The job gave no verdict: it hung, crashed, or left. `why` is a clause, `test` where it was."""

    number: int
    why: str
    test: str = ""


Message = Ready | Running | Failed | Verdict | Named | Lost


def can_fork() -> bool:
    """Whether a process that holds torch may be forked: on Linux; KATA_FORK=0 or 1 overrules."""
    asked = os.environ.get("KATA_FORK")
    return hasattr(os, "fork") and (asked == "1" if asked in ("0", "1") else sys.platform == "linux")


class Nursery:
    """The caller's end. `connection` becomes readable when messages wait."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.checkout, can_fork()), daemon=False)
        self.process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Starts `job`; what is running is ended first. A nursery that has died is replaced."""
        try:
            self.connection.send(job)
        except (OSError, ValueError):
            self.close()
            self._start()
            self.connection.send(job)

    def messages(self, timeout: float = 0.0) -> list[Message]:
        """What has arrived, after waiting `timeout` seconds at most for the first. Lost(0, ...) if the nursery died."""
        found: list[Message] = []
        try:
            while self.connection.poll(0 if found else timeout):
                found.append(self.connection.recv())
        except (EOFError, OSError):
            self.close()
            self._start()
            found.append(Lost(0, "the warm process ended and was started again; save once more"))
        return found

    def close(self) -> None:
        """Ends the nursery and whatever it runs."""
        self.connection.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- the warm process


@dataclass
class _Child:
    job: Job
    process: Any
    pipe: Connection
    deadline: float
    test: str = ""
    judged: bool = False


def serve(caller: Connection, checkout: Checkout, fork: bool) -> None:
    """The warm process: takes jobs from `caller`, relays what their children say, and ends with its caller."""
    _leave_the_terminal()
    context = get_context("fork" if fork else "spawn")
    if fork:
        from dojo.forks import warm

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
                if fork:
                    _warm_for(checkout, job)
                child = _begin(context, checkout, job)
            elif child and child.pipe in ready:
                child = _relay(caller, child)
            elif child:
                _end(child)
                if not child.judged:
                    caller.send(Lost(child.job.number, f"was still running after {child.job.seconds:g} s", child.test))
                child = None
    except (EOFError, OSError):  # the caller has gone
        pass
    finally:
        _end(child)


def _begin(context: Any, checkout: Checkout, job: Job) -> _Child:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, checkout, job))
    process.start()
    theirs.close()
    return _Child(job, process, ours, time.monotonic() + job.seconds)


def _relay(caller: Connection, child: _Child) -> _Child | None:
    try:
        message = child.pipe.recv()
    except (EOFError, OSError):
        child.process.join(1)
        code = child.process.exitcode
        _end(child)
        if not child.judged:
            caller.send(Lost(child.job.number, _why(code), child.test))
        return None
    except Exception as error:  # half a message: the child has written into the pipe, or died writing
        _end(child)
        caller.send(Lost(child.job.number, f"wrote into the trainer's own pipe ({type(error).__name__})", child.test))
        return None
    if isinstance(message, Running):
        child.test = message.test
    child.judged = child.judged or isinstance(message, Verdict)
    caller.send(message)
    return child


def _why(code: int | None) -> str:
    if code is None:
        return "closed the trainer's pipe"
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


def _warm_for(checkout: Checkout, job: Job) -> None:
    """Imports what the kata's tests import besides the kata (scikit-learn takes a second), and the known evidence."""
    import ast
    import importlib

    from dojo import naming

    with suppress(Exception):
        tree = ast.parse(checkout.tests(job.kata).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name.partition(".")[0] not in ("katas", "tests", "solutions"):
                    importlib.import_module(name)
    with suppress(Exception):
        naming.recall(checkout, job.kata, job.seed)


def _leave_the_terminal() -> None:
    """No keys, no Ctrl-C, nothing on the screen: these belong to the caller."""
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


# -- the child


def _run(pipe: Connection, checkout: Checkout, job: Job) -> None:
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    if "torch" not in sys.modules:  # spawned, not forked
        from dojo.forks import warm

        warm()
    _limit()
    from dojo.history import digest
    from dojo.runner import run_pytest
    from dojo.teach import find_mistakes

    source = digest(job.target / f"{job.kata}.py")
    arguments = ["--no-naming", "--no-tracebacks", f"--kata-seed={job.seed}"] + (
        [f"--stage={job.stage}"] if job.stage else []
    )
    started = time.monotonic()
    grab = run_pytest(checkout, job.kata, job.target, arguments, _Live(pipe, job.number))
    pipe.send(Verdict(job.number, grab.outcomes, grab.expected, source, time.monotonic() - started))
    if job.naming and any(o.verdict == "failed" for o in grab.outcomes):
        found, _ = find_mistakes(checkout, job.kata, job.seed)
        pipe.send(Named(job.number, tuple((mistake.name, sentence) for mistake, sentence in found)))
    pipe.close()
    os._exit(0)


class _Live:
    """Tells the nursery which test has begun, and of the first wrong answer at once."""

    def __init__(self, pipe: Connection, number: int) -> None:
        self.pipe, self.number, self.done, self.total, self.failed = pipe, number, 0, 0, False

    def pytest_collection_finish(self, session: Any) -> None:
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.pipe.send(Running(self.number, nodeid.rpartition("::")[2], self.done, self.total))
        self.done += 1

    def pytest_runtest_logreport(self, report: Any) -> None:
        data = getattr(report, "kata_outcome", None)
        if data and data["verdict"] == "failed" and not self.failed:
            self.failed = True
            self.pipe.send(Failed(self.number, Outcome(**data)))


def _limit() -> None:
    """A kata that eats memory or fills the disk gets an error of its own, and the machine stays usable."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this process goes first
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists():  # CUDA reserves far more than it uses
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
