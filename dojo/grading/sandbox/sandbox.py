"""The grader's side of the sandbox: starts a fork server, has it fork one worker per submission, and ends that."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from dojo.core.cores import slowdown
from dojo.core.errors import UserError
from dojo.engine.processes import can_fork, kill_group
from dojo.grading.sandbox import cleanup, limits, paths, pipe
from dojo.grading.sandbox.faults import CannotIsolate, DidNotStart, GraderFault
from dojo.grading.sandbox.session import Session, Task
from dojo.testing import codec

FORK_SERVER = Path(__file__).with_name("forkserver_main.py")
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "SYSTEMROOT")  # no tokens, no PYTHONPATH
START_TIMEOUT_S = 120.0  # importing torch on a busy machine that has not read it before
KILL_TIMEOUT_S = 15.0  # for the fork server to confirm that a job has ended
CLEANUP_TIMEOUT_S = 20.0


class Sandbox:
    """One fork server and the job that it runs. One thread may use it at a time.

    No worker reads the `private` paths, even if the grader's sys.path has a folder that holds them.
    """

    def __init__(self, private: tuple[Path, ...] = ()) -> None:
        self.private = private
        self.stopped = False
        self.may_have_orphans = False  # True once a fork server was killed: processes of its job may live on
        self._server: subprocess.Popen[bytes] | None = None
        self._job = 0
        self._unread = b""
        self._oom_kills = 0  # by the kernel, before the job
        self._last_end: dict[str, Any] = {}

    def _start(self) -> None:
        if self.stopped:
            raise GraderFault("grading was stopped")
        self._import_path = paths.import_path(self.private)
        ours, theirs = socket.socketpair()
        preload = "preload" if can_fork() else ""
        self._server = subprocess.Popen(
            [sys.executable, "-I", "-B", FORK_SERVER, str(theirs.fileno()), preload, json.dumps(self._import_path)],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/",
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        )  # fmt: skip
        theirs.close()
        self._control, self._unread = ours, b""
        message = self._receive(START_TIMEOUT_S * slowdown())
        if message is None or "ready" not in message:
            self.close()
            reason = "it did not answer" if message is None else str(message.get("fault"))
            if reason.startswith("ModuleNotFoundError"):
                reason += " (it imports nothing from folders that hold the checkout, a submission, or your home folder)"
            raise DidNotStart(f"the sandbox's fork server did not start: {reason}")

    @contextmanager
    def run(self, task: Task) -> Iterator[Session]:
        """Yields a session with a worker for `task`; afterwards ends it and removes its files. Raises GraderFault."""
        with ExitStack() as stack:
            try:
                session = self._session(task, stack)
            except OSError as error:  # no memory for a process, no room for a folder, too many open files
                raise GraderFault(f"the sandbox could not be set up: {error}") from error
            yield session

    def _session(self, task: Task, stack: ExitStack) -> Session:
        """A session with a new worker. `stack` ends the worker and removes what belongs to it."""
        if self._server is None or self._server.poll() is not None:
            self.close()
            self._start()
        self._job += 1
        self._oom_kills = limits.oom_kills()
        scratch = tempfile.mkdtemp(prefix="kata-grade-")
        stack.callback(cleanup.remove_tree, Path(scratch), seconds=CLEANUP_TIMEOUT_S)
        stack.callback(self.end)
        with ExitStack() as of_worker:
            descriptors = []
            for _ in range(2):
                theirs, ours = _socket_pair()
                of_worker.callback(os.close, theirs)
                stack.callback(os.close, ours)
                descriptors.append((theirs, ours))
            (worker_inbox, to_worker), (worker_outbox, from_worker) = descriptors
            job = {
                "job": self._job, "layers": task.layers, "scratch": scratch, "cpu_seconds": int(task.seconds) + 2,
                "readable": paths.readable_paths(self._import_path),
            }  # fmt: skip
            with suppress(OSError):  # the fork server has died: both pipes are closed then, and the session says so
                socket.send_fds(self._control, [json.dumps(job).encode() + b"\n"], [worker_inbox, worker_outbox])
        _await_isolation(from_worker)
        return Session(task, to_worker, from_worker, self.end)

    def end(self, timeout: float = 0.0) -> dict[str, Any]:
        """Ends the job, which has `timeout` seconds to end by itself. Returns the fork server's message about its end.

        The message's status is None if the fork server itself has died.
        """
        if self._server is None:
            return {"status": None}
        if self._last_end.get("ended") == self._job:
            return self._last_end
        message = self._receive(timeout) if timeout else None
        if message is None:
            with suppress(OSError):
                self._control.sendall(json.dumps({"kill": self._job}).encode() + b"\n")
            message = self._receive(KILL_TIMEOUT_S)
        while message is not None and message.get("ended") != self._job:
            message = self._receive(KILL_TIMEOUT_S)
        if message is None:
            self.may_have_orphans = True
            self.close()
            return {"status": None}
        message["out_of_memory"] = limits.oom_kills() > self._oom_kills
        self._last_end = message
        return message

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        """The fork server's next message; None if there is none in time, or it has died."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                return None
            try:
                self._control.settimeout(seconds)
                part = self._control.recv(65536)
            except OSError:
                return None
            if not part:
                return None
            self._unread += part
        text, _, self._unread = self._unread.partition(b"\n")
        try:
            return dict(json.loads(text))
        except ValueError:
            return None

    def stop(self) -> None:
        """Ends the job that runs and lets no other one start. Another thread may call it."""
        self.stopped = True
        if self._server is not None:
            kill_group(self._server.pid)

    def close(self) -> None:
        """Ends the fork server and its job."""
        if self._server is None:
            return
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(KILL_TIMEOUT_S)
        if self._server.poll() is None:
            kill_group(self._server.pid)
            self._server.kill()
            self._server.wait()
        self._server = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _socket_pair() -> tuple[int, int]:
    """The worker's end and the grader's, which never blocks.

    A pipe would not do: its writer could open it again through /proc and read from it.
    """
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    return theirs.detach(), ours.detach()


def _await_isolation(from_worker: int) -> None:
    """Waits for the worker's first frame. It comes before the submission is loaded, so it can be trusted."""
    try:
        message = pipe.receive(from_worker, codec.Limits(), time.monotonic() + START_TIMEOUT_S * slowdown())
    except (pipe.Closed, pipe.TimedOut, codec.ProtocolError) as error:
        raise GraderFault(f"the sandbox did not open ({error})") from error
    if not isinstance(message, dict) or message.get("isolated") is not True:
        raise CannotIsolate(f"the sandbox could not be closed: {str(message)[:300]}")


def check_platform() -> None:
    """Raises UserError where no sandbox can be built."""
    if os.name == "nt":
        raise UserError(
            "`kata grade` needs Linux or macOS: it runs each submission in a process that it can isolate. "
            "On Windows use WSL."
        )
