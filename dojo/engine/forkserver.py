"""A warm process that runs a kata's tests on request, each run in a child of its own.

The forkserver imports torch and pytest once and forks for every job, so a verdict takes a tenth of a second and whatever
the kata does (hang, crash, print, eat memory, close its files) ends with its child. A newer job ends the one that is
running. Where fork is unsafe (Windows, and macOS with torch) children start cold; `Ready.kind` says which.

This is the caller's end; dojo.engine.forkserver_main is the process, dojo.engine.worker its child. The process ends when its caller does.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker

from dojo.core.paths import Checkout
from dojo.engine.forkserver_main import serve
from dojo.engine.messages import Job, JobDied, Message, Ready, Running, Verdict
from dojo.engine.processes import can_fork


class ForkServer:
    """The caller's end. `connection` becomes readable when messages wait."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.checkout, can_fork()), daemon=False)
        self.warm = False
        self.under_way = Running(0, "", 0, 0)  # the job that has no verdict yet, if its number is not 0
        with _no_ctrl_c():
            self.process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Starts `job`; what is running is ended first. A forkserver that has died is replaced."""
        try:
            if not self.process.is_alive():
                raise OSError
            self.connection.send(job)
        except (OSError, ValueError):
            self.close()
            self._start()
            self.connection.send(job)
        self.under_way = Running(job.number, "", 0, 0)

    def messages(self, timeout: float = 0.0) -> list[Message]:
        """What has arrived, after waiting `timeout` seconds at most for the first.

        A forkserver that has died is replaced, and the job that it ran is JobDied; JobDied(0, ...) if it ran none.
        """
        found: list[Message] = []
        try:
            while self.connection.poll(0 if found else timeout):
                message = self.connection.recv()
                found.append(message)
                if isinstance(message, Ready):
                    self.warm = True
                elif message.number == self.under_way.number:
                    self.under_way = message if isinstance(message, Running) else self.under_way
                    if isinstance(message, Verdict | JobDied):
                        self.under_way = Running(0, "", 0, 0)
        except (EOFError, OSError):
            found.append(self._replaced())
        return found

    def _replaced(self) -> JobDied:
        number, test, warm = self.under_way.number, self.under_way.test, self.warm
        self.close()
        if warm:
            self._start()
            why = "ended the trainer's warm process (look for os.kill(), or for want of memory); it was started again"
            return JobDied(number, why if number else "the warm process ended and was started again", test)
        # It would most likely end again: the next job tries. Until then nothing arrives.
        self.connection, self._nobody = get_context("spawn").Pipe()
        return JobDied(number, "did not begin: the warm process ended while it started; `kata test NAME` shows why")

    def close(self) -> None:
        """Ends the forkserver and whatever it runs."""
        self.connection.close()
        self.process.join(2 if self.warm else 0)  # one that is still importing torch runs nothing yet
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """A process that starts inherits this, until it has left the terminal: Ctrl-C is the caller's."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's helper; starting it unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
