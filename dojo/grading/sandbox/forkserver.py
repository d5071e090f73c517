"""A fork server: a process that has imported torch and forks a worker for each submission. It never runs one itself.

It holds no secret, so neither do the workers. Jobs run one after another. A job {"job", "layers", "scratch",
"cpu_seconds", "readable"} arrives on its socket with the two ends of the worker's pipes, and {"kill": job} ends it
early. {"ended": job, "status", "full", "orphans"} goes back when no process of the job is left.
"""

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from dojo.engine.preload import freeze, preload_torch
from dojo.engine.processes import become_subreaper, kill_descendants, kill_group, leave_terminal
from dojo.grading.sandbox.isolation import Isolation, exit_status, fork_isolated
from dojo.grading.sandbox.limits import scratch_is_full

SCRATCH_CHECK_S = 0.2
POLL_MS = 200  # where the end of a process can be polled for
POLL_WITHOUT_PIDFD_MS = 10


def main(descriptor: int, preload_first: bool) -> None:
    """Runs the jobs that arrive on the socket `descriptor`, until the grader closes it."""
    channel = _Channel(socket.socket(fileno=descriptor))
    leave_terminal()
    become_subreaper()
    if preload_first:
        try:
            preload_worker()
        except Exception as error:
            channel.send({"fault": f"{type(error).__name__}: {error}"})
            return
    channel.send({"ready": True})
    while message := channel.receive():
        if "layers" in message:
            _run(channel, message)


class _Channel:
    """JSON lines over a socket, with descriptors beside them."""

    def __init__(self, control: socket.socket) -> None:
        self.control, self.unread = control, b""
        self.descriptors: list[int] = []  # a job's may arrive together with the message before it

    def send(self, message: dict[str, Any]) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the grader has closed the socket."""
        while b"\n" not in self.unread:
            part, descriptors, _, _ = socket.recv_fds(self.control, 65536, 4)
            self.descriptors += descriptors
            if not part:
                return None
            self.unread += part
        text, _, self.unread = self.unread.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        return message


def _run(channel: _Channel, job: dict[str, Any]) -> None:
    inbox, outbox, *channel.descriptors = channel.descriptors
    isolation = Isolation(tuple(job["layers"]), job["scratch"], job["cpu_seconds"], tuple(job["readable"]))

    def body() -> None:
        from dojo.grading.sandbox.worker import serve

        serve(inbox, outbox)

    pid = fork_isolated(isolation, (inbox, outbox), body)
    os.close(inbox)
    os.close(outbox)
    # With namespaces the scratch folder is a file system of its own, which is small.
    scratch = "" if "namespaces" in isolation.layers else isolation.scratch
    status, full = _wait(channel, pid, job["job"], scratch)
    orphans = kill_descendants()
    channel.send({"ended": job["job"], "status": status, "full": full, "orphans": orphans})


def _wait(channel: _Channel, pid: int, job: int, scratch: str) -> tuple[int, bool]:
    """Waits until the worker ends; kills it when the grader asks, or when its scratch folder is full.

    Returns its exit status, and whether the folder was full.
    """
    poll = select.poll()
    poll.register(channel.control, select.POLLIN)
    pidfd = -1
    with suppress(OSError, AttributeError):  # Linux before 5.3, gVisor and macOS have none: there the end is polled for
        pidfd = os.pidfd_open(pid)
    if pidfd >= 0:
        poll.register(pidfd, select.POLLIN)
    full = False
    checked = time.monotonic()
    try:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(POLL_MS if pidfd >= 0 else POLL_WITHOUT_PIDFD_MS)}
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                return exit_status(code), full
            if channel.control.fileno() in ready:
                message = channel.receive()
                if message is None or message.get("kill") == job:
                    _kill(pid)
            if scratch and time.monotonic() - checked > SCRATCH_CHECK_S:
                checked = time.monotonic()
                if scratch_is_full(scratch, pid):
                    full = True
                    _kill(pid)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _kill(pid: int) -> None:
    kill_group(pid)
    with suppress(ProcessLookupError, PermissionError):  # it may not lead a group yet
        os.kill(pid, signal.SIGKILL)


def preload_worker() -> None:
    """Imports what a worker needs, so that every fork has it at once."""
    preload_torch()
    import numpy  # noqa: F401
    import torch.utils.data  # noqa: F401

    import dojo.grading.sandbox.worker
    import dojo.testing.checks  # noqa: F401

    freeze()
