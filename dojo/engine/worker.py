"""The child of dojo.engine.forkserver_main: one run of a kata's tests, in a process that can harm nothing but itself."""

import os
import pickle
import signal
import stat
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.messages import Diagnosed, FirstFailure, Job, JobDied, Message, Running, Verdict
from dojo.engine.processes import prctl

MEMORY = 4 * 2**30  # bytes beyond what the warm process holds
FILE = 64 * 2**20  # bytes that a kata may write into one file
LONG = 10_000  # characters of one test's message; an exception may hold megabytes
DEAF = 213  # exit code of a child that could not tell its verdict


def run_job(pipe: Connection, checkout: Checkout, job: Job) -> None:
    tell = _Teller(pipe)
    try:
        _prepare(pipe)
        _judge(tell, checkout, job)
    except BaseException as error:  # its files are closed, or no memory is left
        try:
            tell(JobDied(job.number, f"broke the test run itself ({type(error).__name__}: {error})"[:200]))
        except BaseException:
            os._exit(DEAF)
    os._exit(0)


def _prepare(pipe: Connection) -> None:
    """A process that holds nothing of the trainer's but one end of `pipe`, and ends with the trainer."""
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if "torch" not in sys.modules:  # spawned, not forked
        from dojo.engine.pool import warm

        warm()
    else:
        _close_pipes(pipe.fileno())
    _limit()


def _close_pipes(but: int) -> None:
    """What was inherited leads to the caller: a kata that writes into every file must not reach it."""
    from multiprocessing import resource_tracker

    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            number = int(name)
            with suppress(OSError):
                mode = os.fstat(number).st_mode
                if number > 2 and number != but and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
                    os.close(number)
    resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]  # a kata's own workers start another


def _judge(tell: "_Teller", checkout: Checkout, job: Job) -> None:
    from dojo.core.files import digest
    from dojo.engine.diagnosis import find_mistakes
    from dojo.engine.runner import run_pytest

    source = digest(job.target / f"{job.kata}.py")
    arguments = ["--no-naming", "--no-tracebacks", f"--kata-seed={job.seed}"] + (
        [f"--stage={job.stage}"] if job.stage else []
    )
    started = time.monotonic()
    live = _Live(tell, job.number)
    grab = run_pytest(checkout, job.kata, job.target, arguments, live)
    outcomes = tuple(_short(outcome) for outcome in grab.outcomes)
    if len(outcomes) < live.total:  # half a verdict would look like a whole one
        said = "it was interrupted, by KeyboardInterrupt or pytest.exit()" if grab.code == 2 else "pytest itself broke"
        tell(JobDied(job.number, f"ended after {len(outcomes)} of {live.total} tests: {said}", live.test))
        return
    tell(Verdict(job.number, outcomes, grab.expected, source, time.monotonic() - started))
    if job.naming and any(o.verdict == "failed" for o in outcomes):
        found, _ = find_mistakes(checkout, job.kata, job.seed)
        tell(Diagnosed(job.number, tuple((mistake.name, sentence) for mistake, sentence in found)))


def _short(outcome: Outcome) -> Outcome:
    return replace(outcome, message=f"{outcome.message[:LONG]} ...") if len(outcome.message) > LONG else outcome


class _Teller:
    """Sends messages to the forkserver, from the process that it was made in: a kata may fork and go on twice."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.process = pipe, os.getpid()

    def __call__(self, message: Message) -> None:
        if os.getpid() != self.process:
            os._exit(0)
        if os.name == "nt":
            self.pipe.send(message)
            return
        data = pickle.dumps(message)
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[os.write(self.pipe.fileno(), data) :]


class _Live:
    """Tells the forkserver which test has begun, and of the first wrong answer at once."""

    def __init__(self, tell: _Teller, number: int) -> None:
        self.tell, self.number, self.done, self.total, self.failed, self.test = tell, number, 0, 0, False, ""

    def pytest_collection_finish(self, session: Any) -> None:
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid.rpartition("::")[2]
        self.tell(Running(self.number, self.test, self.done, self.total))
        self.done += 1

    def pytest_runtest_logreport(self, report: Any) -> None:
        data = getattr(report, "kata_outcome", None)
        if data and data["verdict"] == "failed" and not self.failed:
            self.failed = True
            self.tell(FirstFailure(self.number, _short(Outcome(**data))))


def _limit() -> None:
    """A kata that eats memory or fills the disk gets an error of its own, and the machine stays usable."""
    try:
        import resource
    except ImportError:
        return

    def lower(kind: int, limit: int) -> None:
        hard = resource.getrlimit(kind)[1]  # the shell's own (ulimit) cannot be raised
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))

    lower(resource.RLIMIT_FSIZE, FILE)
    lower(resource.RLIMIT_CORE, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this process goes first
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists():  # CUDA reserves far more than it uses
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        lower(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY)
