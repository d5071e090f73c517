"""The fork server's process: receives jobs, forks a worker for each, relays its messages, kills what it leaves behind.

The next job is most often the last one again, on a file that was saved meanwhile. So after each job a worker for the same
one is forked ahead: it starts pytest, and waits for the job before it looks at any test or kata (the fork and pytest's
start take half of the time until the first test). A job that differs in anything but its number gets a new worker.

multiprocessing has a fork server too. It imports a fixed list of modules when it starts, so runs of katas whose tests
import scikit-learn took two seconds longer (the others took as long as here); and it does not kill orphaned daemons.
"""

import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.engine.messages import Diagnosed, Job, JobDied, Message, Ready, Running, Verdict
from dojo.engine.preload import preload, preload_kata
from dojo.engine.processes import become_subreaper, describe_exit, kill_descendants, kill_group, leave_terminal
from dojo.engine.worker import EXIT_UNREPORTED, run_job

READ_BYTES = 2**20
MAX_MESSAGE_BYTES = 2**26


@dataclass
class _Worker:
    """A running worker and how far its job is."""

    job: Job
    process: BaseProcess
    pipe: Connection
    deadline: float
    test: str = ""  # the one that runs
    has_verdict: bool = False
    awaits_diagnosis: bool = False
    unread: bytearray = field(default_factory=bytearray)
    settings: tuple[int, ...] = ()  # when pytest's own files were written; one forked ahead has read them

    def receive(self) -> Iterator[Message]:
        """The messages that have arrived completely. Never waits for the rest of one: a kata may write into the pipe."""
        if os.name == "nt":
            yield self.pipe.recv()
            return
        part = os.read(self.pipe.fileno(), READ_BYTES)
        if not part:
            raise EOFError
        self.unread += part
        while len(self.unread) >= 4:
            size = int.from_bytes(self.unread[:4], "big")
            if not 0 < size < MAX_MESSAGE_BYTES:
                raise ValueError("no message is so long")
            if len(self.unread) < size + 4:
                break
            message = pickle.loads(self.unread[4 : size + 4])
            if not isinstance(message, Message):
                raise TypeError("this is not a message")
            del self.unread[: size + 4]
            yield message


def serve(caller: Connection, checkout: Checkout, fork: bool) -> None:
    """Runs the jobs that `caller` sends, until it closes the connection."""
    leave_terminal()
    is_subreaper = become_subreaper()
    context = get_context("fork" if fork else "spawn")
    if fork:
        preload()
    worker: _Worker | None = None
    standby: _Worker | None = None  # forked ahead of its job

    def clean_up() -> None:
        if worker:
            _end(worker)
        if is_subreaper:  # a daemon has left its worker's process group, and is now a child of this process
            kill_descendants(frozenset([standby.process.pid]) if standby and standby.process.pid else frozenset())

    def stand_by(job: Job) -> _Worker | None:
        return _start(context, checkout, job, ahead=True) if fork and is_subreaper else None

    try:
        caller.send(Ready("fork" if fork else "spawn"))
        while True:
            timeout = max(0.0, worker.deadline - time.monotonic()) if worker else None
            ready = wait([caller, *([worker.pipe] if worker else [])], timeout=timeout)
            if caller in ready:
                job = caller.recv()
                clean_up()
                worker, standby = _begin(checkout, standby, job), None
                if not worker:
                    if fork:
                        preload_kata(checkout, job.kata)
                    worker = _start(context, checkout, job)
            elif worker and worker.pipe in ready:
                if not _relay(caller, worker):
                    clean_up()
                    standby, worker = stand_by(worker.job), None
            elif worker:
                clean_up()
                seconds = worker.job.seconds
                _report_end(caller, worker, say("was still running after {seconds:g} s", seconds=seconds))
                standby, worker = stand_by(worker.job), None
    except (EOFError, OSError):  # the caller has closed the connection, or has ended
        pass
    finally:
        clean_up()
        if standby:
            _end(standby)


def _begin(checkout: Checkout, standby: _Worker | None, job: Job) -> _Worker | None:
    """Gives `job` to the worker that was forked ahead. Ends that worker if it is for another job, or is no longer well."""
    if not standby:
        return None
    same = replace(standby.job, number=job.number) == job and standby.settings == _settings(checkout, job.kata)
    try:
        if same and standby.process.is_alive() and not standby.pipe.poll():
            standby.pipe.send(job)
            return replace(standby, job=job, deadline=time.monotonic() + job.seconds)
    except OSError:
        pass
    _end(standby)
    return None


def _start(context: Any, checkout: Checkout, job: Job, ahead: bool = False) -> _Worker:
    """Forks a worker, which runs `job` at once, or, if it is forked `ahead`, when it is sent one."""
    settings = _settings(checkout, job.kata)
    ours, theirs = context.Pipe(duplex=ahead)
    process = context.Process(target=run_job, args=(theirs, checkout, job, ahead))
    process.start()
    theirs.close()
    return _Worker(job, process, ours, time.monotonic() + job.seconds, settings=settings)


def _settings(checkout: Checkout, kata: str) -> tuple[int, ...]:
    """When the files that pytest reads before it collects tests were written; 0 for one that does not exist."""
    files = [checkout.root / name for name in ("conftest.py", "pyproject.toml", "pytest.ini", "tests/conftest.py")]
    times = []
    for file in (*files, checkout.tests(kata) / "conftest.py"):
        try:
            times.append(file.stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def _relay(caller: Connection, worker: _Worker) -> bool:
    """Sends on what the worker has sent. False when it has ended, or was ended because its pipe holds something else."""
    try:
        for message in worker.receive():
            if isinstance(message, Running):
                worker.test = message.test
            elif isinstance(message, JobDied):
                # A worker that was forked ahead may know neither its job's number nor the test.
                message = replace(message, number=worker.job.number, test=message.test or worker.test)
            worker.has_verdict = worker.has_verdict or isinstance(message, Verdict | JobDied)
            if isinstance(message, Verdict):
                worker.awaits_diagnosis = worker.job.diagnose and any(o.verdict == "failed" for o in message.outcomes)
            elif isinstance(message, Diagnosed):
                worker.awaits_diagnosis = False
            caller.send(message)
    except (EOFError, OSError):
        worker.process.join(1)
        code = worker.process.exitcode
        _end(worker)
        _report_end(caller, worker, _describe(code))
        return False
    except Exception:  # not a message
        _end(worker)
        _report_end(caller, worker, say("wrote into a file that is not its own, the trainer's pipe"))
        return False
    return True


def _describe(code: int | None) -> str:
    if code is None or code == EXIT_UNREPORTED:
        return say("closed a file that is not its own, the trainer's pipe")
    return describe_exit(code, say("its tests were through"), say(", most likely because it used up the memory"))


def _report_end(caller: Connection, worker: _Worker, why: str) -> None:
    """Sends what is missing when a worker has ended: the job's end, or an empty diagnosis after its verdict."""
    if not worker.has_verdict:
        caller.send(JobDied(worker.job.number, why, worker.test))
    elif worker.awaits_diagnosis:  # it hung or crashed on an input that only the probe has
        caller.send(Diagnosed(worker.job.number, ()))


def _end(worker: _Worker) -> None:
    """Kills the worker and its process group, if that has not been done."""
    if worker.pipe.closed:
        return
    worker.pipe.close()
    if worker.process.pid:
        kill_group(worker.process.pid)
    worker.process.kill()
    worker.process.join()
