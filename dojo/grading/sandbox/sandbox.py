"""The grader's end of a cage: starts the zygote, hands it a submission, asks case by case, and ends it from outside."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojo.core.errors import UserError
from dojo.grading.sandbox import pipe as frames
from dojo.testing import codec
from dojo.testing.probes import Case, Raised

ROOT = Path(__file__).resolve().parents[3]
BOOT = "import sys; sys.path.insert(0, sys.argv[3]); from dojo.grading.sandbox.forkserver import main; main(int(sys.argv[1]), sys.argv[2] == 'warm')"
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "SYSTEMROOT")  # no tokens, no PYTHONPATH
START = 120.0  # seconds: torch on a cold, busy machine
DEAF = 15.0
EVIDENCE = 2**27  # bytes of tensors in all of one process's answers: the grader keeps them until it judges


class Ended(Exception):
    """The submission's process will answer no more; the text is a clause that says why."""


class GraderFault(Exception):
    """Something of ours failed; no submission's fault."""


@dataclass(frozen=True)
class Task:
    """One submission of one kata, as the cage needs it. `source` is the only part that a stranger wrote."""

    kata: str
    source: str
    probe: str
    banned: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    case_seconds: float = 10.0
    seconds: float = 60.0


class Cell:
    """A zygote and the one job that it runs. Not for several threads at once."""

    def __init__(self) -> None:
        self._zygote: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._unread = b""
        self._ended: dict[str, Any] = {}
        self.stopped = False
        self.lost = False  # whether a zygote was ever hit: then something may have outlived it

    def _start(self) -> None:
        from dojo.engine.processes import can_fork

        if self.stopped:
            raise GraderFault("grading was stopped")
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        how = "warm" if can_fork() else "cold"
        self._zygote = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", BOOT, str(theirs.fileno()), how, str(ROOT)],
            pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        theirs.close()
        self._control, self._unread = ours, b""
        if self._hear(START) is None:
            self.close()
            raise GraderFault(
                "the grader's warm process did not start; `python -m dojo.grading.sandbox.forkserver` may show why"
            )

    @contextmanager
    def run(self, task: Task) -> Iterator["Session"]:
        """A session with the submission; when it is left nothing of it remains."""
        if self._zygote is None or self._zygote.poll() is not None:
            self.close()
            self._start()
        self._number += 1
        scratch = tempfile.mkdtemp(prefix="kata-grade-")
        their_inbox, to_worker = _socket_pair()
        their_outbox, from_worker = _socket_pair()
        job = {"job": self._number, "layers": task.layers, "scratch": scratch, "cpu_seconds": int(task.seconds) + 2}
        try:
            with suppress(OSError):  # a zygote that has died is told by the pipes' silence
                socket.send_fds(self._control, [json.dumps(job).encode() + b"\n"], [their_inbox, their_outbox])
            os.close(their_inbox)
            os.close(their_outbox)
            _await_fences(from_worker)
            yield Session(self, task, to_worker, from_worker)
        finally:
            for pipe in (to_worker, from_worker):
                os.close(pipe)
            self.end()
            _remove(scratch)

    def end(self, patience: float = 0.0) -> dict[str, Any]:
        """Ends the job, after `patience` seconds in which it may end by itself; what the zygote says of its end."""
        if self._zygote is None:  # it was hit before, and what hung from it has ended
            return {"status": None}
        if self._ended.get("ended") == self._number:
            return self._ended
        said = self._hear(patience) if patience else None
        if said is None:
            with suppress(OSError):
                self._control.sendall(json.dumps({"kill": self._number}).encode() + b"\n")
            said = self._hear(DEAF)
        while said is not None and said.get("ended") != self._number:
            said = self._hear(DEAF)
        if said is None:  # the zygote itself was hit
            self.lost = True
            self.close()
            return {"status": None}
        self._ended = said
        return said

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self._control.settimeout(left)
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
        """From another thread: ends what runs now, and nothing starts any more."""
        self.stopped = True
        if self._zygote is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._zygote.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the zygote and whatever hangs from it."""
        if self._zygote is None:
            return
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._zygote.wait(DEAF)
        if self._zygote.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._zygote.pid, signal.SIGKILL)
            self._zygote.kill()
            self._zygote.wait()
        self._zygote = None

    def __enter__(self) -> "Cell":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """The conversation with one submission."""

    def __init__(self, cell: Cell, task: Task, to_worker: int, from_worker: int) -> None:
        self.cell, self.task, self.to_worker, self.from_worker = cell, task, to_worker, from_worker
        self.deadline = time.monotonic() + task.seconds
        self.room = 0
        self.introduced = self.loaded = False

    def load(self, source: str | None = None) -> Raised | None:
        """Sends the task's source, or another; what importing it raised, if it did. Raises Ended."""
        if not self.introduced:
            job = {"kata": self.task.kata, "banned": list(self.task.banned), "probe": self.task.probe.encode()}
            self._say(job, self.deadline)
            self.introduced = True
        self.room = EVIDENCE
        text = self.task.source if source is None else source
        trouble = self._ask({"source": text.encode("utf-8", "surrogatepass")}).get("trouble")
        self.loaded = True
        return trouble if isinstance(trouble, Raised) else None

    def observe(self, case: Case, noise: int) -> dict[str, Any]:
        """The evidence of one case. Raises Ended."""
        inputs = {key: value for key, value in vars(case).items() if key not in ("name", "of")}
        seen = self._ask({"name": case.name, "of": case.of, "inputs": inputs, "noise": noise}).get("seen")
        if not isinstance(seen, dict):
            raise Ended("sent something that no probe sends")
        self.room -= codec.memory_bytes(seen)
        return seen

    def _say(self, message: dict[str, Any], limit: float) -> None:
        try:
            frames.send(self.to_worker, message, limit)
        except frames.Silence as silence:
            raise Ended(self._why(silence.late, limit == self.deadline)) from None

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        limit = min(self.deadline, time.monotonic() + self.task.case_seconds)
        self._say(question | {"nonce": nonce}, limit)
        try:
            said = frames.receive(self.from_worker, codec.Limits(body=min(self.room, codec.Limits.body)), limit)
        except frames.Silence as silence:
            raise Ended(self._why(silence.late, limit == self.deadline)) from None
        except codec.ProtocolError as error:
            self.cell.end()
            large = "gave results too large to be judged" if "would have" in str(error) else ""
            raise Ended(large or f"wrote into the grader's pipe, and what it wrote {error}") from None
        if not isinstance(said, dict) or said.get("nonce") != nonce:
            self.cell.end()
            raise Ended("wrote into the grader's pipe an answer to another question")
        return said

    def _why(self, late: bool, in_all: bool) -> str:
        if late:
            self.cell.end()
            return f"was still running after {self.task.seconds if in_all else self.task.case_seconds:.0f} s"
        said = self.cell.end(patience=1.0)
        status = said.get("status")
        if said.get("full"):
            return "wrote more files, or larger ones, than a kata may"
        if status is None:
            return "ended the process that watches it"
        if status < 128:
            return (
                f"ended the process (exit code {status}) before its cases were through; look for exit() or os._exit()"
            )
        try:
            name = signal.Signals(status - 128).name
        except ValueError:
            name = f"signal {status - 128}"
        return {
            "SIGKILL": "was killed (SIGKILL): it closed the grader's pipe, or used up the memory",
            "SIGXCPU": "used up its computing time",
            "SIGSEGV": "crashed the interpreter (SIGSEGV)",
            "SIGABRT": "aborted the interpreter (SIGABRT)",
            "SIGXFSZ": "wrote a larger file than a kata may",
        }.get(name, f"was ended by {name}")


def _socket_pair() -> tuple[int, int]:
    """Theirs and ours, which never blocks. Sockets, since a pipe can be opened again through /proc and read by its writer."""
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    return theirs.detach(), ours.detach()


def _await_fences(pipe: int) -> None:
    """The first frame is sent before anything of the submission is there, so what it says of the cage is true."""
    try:
        said = frames.receive(pipe, codec.Limits(), time.monotonic() + START)
    except (frames.Silence, codec.ProtocolError) as error:
        raise GraderFault(f"the cage did not open ({error})") from error
    if not isinstance(said, dict) or said.get("fenced") is not True:
        raise GraderFault(f"the cage could not be closed: {str(said)[:300]}")


def _remove(scratch: str) -> None:
    from dojo.grading.sandbox import cleanup

    cleanup.remove_tree(Path(scratch), seconds=20)


def check_platform() -> None:
    """Raises UserError where no cage can be built."""
    if os.name == "nt":
        raise UserError(
            "`kata grade` needs Linux or macOS: it runs each submission in a process that it can fence. On Windows use WSL."
        )
