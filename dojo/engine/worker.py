"""The fork server's child: runs the tests of one kata once, in a process of its own that has limits."""

import os
import pickle
import signal
import stat
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dojo.core.files import digest
from dojo.core.language import say
from dojo.core.outcome import shortened, text_of
from dojo.core.paths import Checkout
from dojo.engine.messages import Comparing, Diagnosed, FirstFailure, Job, JobDied, Message, Running, Verdict
from dojo.engine.processes import MAX_FILE_BYTES, PR_SET_PDEATHSIG, lower_limit, prctl, wrote_too_much

MAX_EXTRA_MEMORY_BYTES = 4 * 2**30  # beyond what the fork server holds
EXIT_UNREPORTED = 213  # exit code of a worker that could not send its result


def run_job(pipe: Connection, checkout: Checkout, job: Job, ahead: bool = False) -> None:
    """Runs `job` and sends its messages into `pipe`. Ends the process.

    If it was forked `ahead`, `job` has only the wrong number: it waits for the right one once pytest has started.
    """
    sender = Sender(pipe)
    try:
        _prepare(pipe)
        _run_tests(sender, checkout, job, ahead)
    except BaseException as error:  # the kata has closed our files, say, or no memory is left
        try:
            kind, text = type(error).__name__, text_of(error)[:200]
            broken = say("broke the test run itself ({kind}: {text})", kind=kind, text=text)
            sender.send(JobDied(job.number, wrote_too_much(error) or broken))
        except BaseException:
            os._exit(EXIT_UNREPORTED)
    os._exit(0)


def _prepare(pipe: Connection) -> None:
    """Keeps nothing of the trainer's but `pipe`, and makes sure that this process ends with the fork server."""
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    with suppress(OSError):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if "torch" in sys.modules:
        _close_pipes_except(pipe.fileno())
    else:  # spawned, not forked
        from dojo.engine.preload import preload

        preload()
    _limit_resources()


def _close_pipes_except(kept: int) -> None:
    """Closes the inherited pipes and sockets. They lead to the caller, and a kata may write into every open file."""
    from multiprocessing import resource_tracker

    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            descriptor = int(name)
            with suppress(OSError):
                mode = os.fstat(descriptor).st_mode
                if descriptor > 2 and descriptor != kept and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
                    os.close(descriptor)
    resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]  # a kata's own workers start another


def _limit_resources() -> None:
    """Limits memory and file sizes: a kata that needs too much gets an error, and the machine stays usable."""
    try:
        import resource
    except ImportError:  # Windows
        return
    lower_limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    lower_limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this process is killed first
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists():  # CUDA reserves far more than it uses
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + MAX_EXTRA_MEMORY_BYTES)


def _run_tests(sender: "Sender", checkout: Checkout, job: Job, ahead: bool) -> None:
    from dojo.engine.diagnosis import diagnose_kata
    from dojo.engine.runner import run_pytest

    arguments = [
        "--no-naming",
        "--no-tracebacks",
        f"--kata-seed={job.seed}",
        f"--hang-limit={job.cpu_seconds}",
    ]
    arguments += [f"--stage={job.stage}"] if job.stage else []
    live = _LivePlugin(sender, job, ahead)
    run = run_pytest(checkout, job.kata, job.target, arguments, live)
    job = live.job
    outcomes = run.outcomes
    if len(outcomes) < live.total:  # a partial run must not be reported as a complete one
        interrupted = say("it was interrupted, by KeyboardInterrupt or pytest.exit()")
        why = say(
            "ended after {number} of {total} tests: {reason}",
            number=len(outcomes),
            total=live.total,
            reason=interrupted if run.exit_code == 2 else say("pytest itself broke"),
        )
        sender.send(JobDied(job.number, why, live.test))
        return
    seconds = time.monotonic() - live.started_at
    sender.send(Verdict(job.number, outcomes, run.expected, live.source, seconds, shortened(live.printed)))
    if job.diagnose and run.may_run_again and any(o.verdict == "failed" for o in outcomes):
        naming = diagnose_kata(
            checkout, job.kata, outcomes, begins=lambda mistakes: sender.send(Comparing(job.number, mistakes))
        )
        sender.send(Diagnosed(job.number, naming.diagnoses))


class Sender:
    """Sends messages to the fork server.

    A forked copy of this process ends instead: a kata may call os.fork(), and then both would report.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.pid = pipe, os.getpid()

    def send(self, message: Message) -> None:
        if os.getpid() != self.pid:
            os._exit(0)
        if os.name == "nt":
            self.pipe.send(message)
            return
        data = pickle.dumps(message)
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[os.write(self.pipe.fileno(), data) :]


class _LivePlugin:
    """A pytest plugin that waits for the job, reports each test as it begins, and the first wrong answer at once."""

    def __init__(self, sender: Sender, job: Job, ahead: bool) -> None:
        self.sender, self.job, self.ahead = sender, job, ahead
        self.started_at, self.source = time.monotonic(), ""
        self.started = self.total = 0
        self.test = ""  # the one that runs
        self.any_failed = False
        self.printed = ""  # while test files, and with them the kata, were imported

    def pytest_collection(self) -> None:
        """Waits here if it is to: pytest has started, and nothing of the kata or its tests has been read yet."""
        if self.ahead:
            from dojo.engine.preload import freeze
            from dojo.engine.warm_up import warm_up

            warm_up()
            freeze()
            self.job = self.sender.pipe.recv()
            self.started_at = time.monotonic()
        self.source = digest(self.job.target / f"{self.job.kata}.py")

    def pytest_collectreport(self, report: Any) -> None:
        if report.passed:
            self.printed += report.capstdout

    def pytest_collection_finish(self, session: Any) -> None:
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid.rpartition("::")[2]
        self.sender.send(Running(self.job.number, self.test, self.started, self.total))
        self.started += 1

    def pytest_runtest_logreport(self, report: Any) -> None:
        from dojo.engine.session import outcome_of  # brings pytest, which the caller of a fork server does not need

        outcome = outcome_of(report)
        if outcome and outcome.verdict == "failed" and not self.any_failed:
            self.any_failed = True
            self.sender.send(FirstFailure(self.job.number, outcome))
