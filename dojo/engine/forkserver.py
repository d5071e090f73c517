"""The caller's end of the fork server: a process that runs a kata's tests on request, each run in a child of its own.

The fork server imports torch and pytest once and forks for every job. So a verdict takes a tenth of a second, and a kata
that hangs, crashes, prints, uses up memory or closes its files harms only its child. A newer job ends the running one.
Where fork is unsafe (Windows, and macOS with torch) each child imports torch for itself; `Ready.kind` tells which it is.

`forkserver_main` is the process, `worker` its child. The fork server ends when its caller does.
"""

from multiprocessing import get_context

from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.engine.forkserver_main import serve
from dojo.engine.messages import Job, JobDied, Message, Ready, Running, Verdict
from dojo.engine.processes import can_fork, ctrl_c_blocked

EXIT_TIMEOUT_S = 2.0  # for a fork server that kills its child and ends
NO_JOB = Running(0, "", 0, 0)


class ForkServer:
    """Starts a fork server, and another when it has died. `connection` becomes readable when messages wait."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.checkout, can_fork()), daemon=False)
        self.ready = False
        self.current = NO_JOB  # the job that has no verdict yet, and where it is
        with ctrl_c_blocked():
            self.process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Starts `job`; the running one is ended first. A fork server that has died is replaced."""
        try:
            if not self.process.is_alive():
                raise OSError
            self.connection.send(job)
        except (OSError, ValueError):
            self.close()
            self._start()
            self.connection.send(job)
        self.current = Running(job.number, "", 0, 0)

    def messages(self, timeout: float = 0.0) -> list[Message]:
        """The messages that have arrived, after waiting `timeout` seconds at most for the first.

        A fork server that has died is replaced. Its job is JobDied; if it ran none, the message is JobDied(0, ...).
        """
        messages: list[Message] = []
        try:
            while self.connection.poll(0 if messages else timeout):
                message = self.connection.recv()
                messages.append(message)
                if isinstance(message, Ready):
                    self.ready = True
                elif message.number == self.current.number:
                    self.current = message if isinstance(message, Running) else self.current
                    if isinstance(message, Verdict | JobDied):
                        self.current = NO_JOB
        except (EOFError, OSError):
            messages.append(self._replace())
        return messages

    def _replace(self) -> JobDied:
        number, test, was_ready = self.current.number, self.current.test, self.ready
        self.close()
        if was_ready:
            self._start()
            why = say("the process that runs the tests ended, and was started again")
            if number:
                why = say(
                    "ended the trainer's own process (it called os.kill(), or memory ran out), which was started again"
                )
            return JobDied(number, why, test)
        # Starting another now would probably fail again, so that waits for the next submit(). Until then the connection
        # is one that never becomes readable; its other end has to stay open.
        self.connection, self._unused_end = get_context("spawn").Pipe()
        why = say("did not begin: the process for it ended while it started; `kata test NAME` shows why")
        return JobDied(number, why)

    def close(self) -> None:
        """Ends the fork server and the job that it runs."""
        self.connection.close()
        self.process.join(EXIT_TIMEOUT_S if self.ready else 0)  # one that still imports torch runs no job
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
