"""A warm process that forks the cages. It imports torch and the probes' helpers once, and never runs a submission itself.

It holds no secret, so neither does what it forks. One job at a time: {"job", "layers", "scratch", "cpu_seconds"} and two
pipe ends arrive on its socket; {"ended", "status"} goes back when nothing of the job is left.
"""

import gc
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from contextlib import suppress
from typing import Any

from dojo.engine.processes import become_subreaper, kill_descendants

FILES, BYTES = 4096, 128 * 2**20  # in the scratch folder, where it is no file system of its own


def main(descriptor: int, warm: bool) -> None:
    """The process; ends with its caller."""
    control = socket.socket(fileno=descriptor)
    _leave_the_terminal()
    become_subreaper()
    if warm:
        _warm()
    line = _Line(control)
    line.say({"ready": True})
    while asked := line.hear():
        if "layers" in asked:
            _run(line, asked)


class _Line:
    """JSON lines over a socket, descriptors beside them."""

    def __init__(self, control: socket.socket) -> None:
        self.control, self.unread = control, b""
        self.descriptors: list[int] = []  # those of a job may arrive together with what was said before it

    def say(self, message: dict[str, Any]) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def hear(self) -> dict[str, Any] | None:
        """The next message; None when the caller has gone."""
        while b"\n" not in self.unread:
            part, new, _, _ = socket.recv_fds(self.control, 65536, 4)
            self.descriptors += new
            if not part:
                return None
            self.unread += part
        text, _, self.unread = self.unread.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        return message


def _run(line: _Line, job: dict[str, Any]) -> None:
    from dojo.grading.sandbox.isolation import Fence, fork_fenced

    inbox, outbox, *line.descriptors = line.descriptors
    fence = Fence(tuple(job["layers"]), job["scratch"], job["cpu_seconds"])

    def body() -> None:
        from dojo.grading.sandbox.worker import serve

        serve(inbox, outbox)

    pid = fork_fenced(fence, (inbox, outbox), body)
    os.close(inbox)
    os.close(outbox)
    status, full = _wait(line, pid, job["job"], "" if "namespaces" in fence.layers else fence.scratch)
    strays = kill_descendants()
    line.say({"ended": job["job"], "status": status, "full": full, "strays": strays})


def _wait(line: _Line, pid: int, number: int, scratch: str) -> tuple[int, bool]:
    """Until the job ends, is called off, or fills its folder."""
    poll = select.poll()
    poll.register(line.control, select.POLLIN)
    handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    if handle >= 0:
        poll.register(handle, select.POLLIN)
    full = False
    looked = time.monotonic()
    try:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(200 if handle >= 0 else 10)}
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                return 128 + os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code), full
            if line.control.fileno() in ready:
                asked = line.hear()
                if asked is None or asked.get("kill") == number:
                    _kill(pid)
            if scratch and time.monotonic() - looked > 0.2:
                looked = time.monotonic()
                if _overfull(scratch, _without_names(pid)):
                    full = True
                    _kill(pid)
    finally:
        if handle >= 0:
            os.close(handle)


def _kill(pid: int) -> None:
    for end in (os.killpg, os.kill):
        try:
            end(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _without_names(pid: int) -> int:
    """Bytes of files that a process holds open and that no folder shows any more."""
    size = 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                size += found.st_size if stat.S_ISREG(found.st_mode) and not found.st_nlink else 0
    return size


def _overfull(folder: str, size: int) -> bool:
    """Whether there are too many files, or too large ones, `size` bytes included. Looks at no more than that many."""
    files = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
                    if files > FILES or size > BYTES:
                        return True
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:  # a folder that may not be looked into, or whose name is too long: there to hide something
            return True
    return size > BYTES


def _warm() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import numpy  # noqa: F401
    import torch._dynamo  # torch.library needs it, and takes a second to import
    import torch.utils.data

    import dojo.grading.sandbox.isolation
    import dojo.grading.sandbox.worker
    import dojo.testing.checks  # noqa: F401

    torch.testing.assert_close(torch.ones(1), torch.ones(1))  # imports sympy
    gc.collect()
    gc.freeze()


def _leave_the_terminal() -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "warm")
