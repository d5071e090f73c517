"""Sends the grader's requests to one submission in its worker: load the file, run a case. Says how the worker ended."""

import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dojo.engine.processes import describe_exit
from dojo.grading.sandbox import pipe
from dojo.grading.sandbox.faults import GraderFault, KilledFromOutside
from dojo.testing import codec
from dojo.testing.codec_decode import memory_bytes
from dojo.testing.probes import Case, Raised

MAX_EVIDENCE_BYTES = 2**27  # in all answers to one load together: the grader holds them until it has judged
EXIT_TIMEOUT_S = 1.0  # for a process whose pipe has closed to end by itself, so that its exit status is known


class Ended(Exception):
    """The submission's process answers no more. The text is a clause that says why: "ended the process ..."."""


@dataclass(frozen=True)
class Task:
    """One submission of one kata. `source` is the only part that the grader does not trust."""

    kata: str
    source: str
    probe: str
    banned: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    case_seconds: float = 10.0
    seconds: float = 60.0


class Session:
    """Sends requests to one worker and returns its answers.

    `end(timeout)` ends the worker, after it has had `timeout` seconds to end by itself, and returns the fork server's
    message about its end.
    """

    def __init__(self, task: Task, to_worker: int, from_worker: int, end: Callable[[float], dict[str, Any]]) -> None:
        self.task, self.to_worker, self.from_worker, self.end = task, to_worker, from_worker, end
        self.deadline = time.monotonic() + task.seconds
        self.bytes_left = 0
        self.job_sent = False

    def load(self, source: str | None = None) -> Raised | None:
        """Imports the task's source, or another one. Returns what that raised, or None. Raises Ended."""
        if not self.job_sent:
            job = {"kata": self.task.kata, "banned": list(self.task.banned), "probe": self.task.probe.encode()}
            self._send(job, self.deadline)
            self.job_sent = True
        self.bytes_left = MAX_EVIDENCE_BYTES
        text = self.task.source if source is None else source
        error = self._request({"source": text.encode("utf-8", "surrogatepass")}).get("error")
        return error if isinstance(error, Raised) else None

    def observe(self, case: Case, noise: int) -> dict[str, Any]:
        """Returns the evidence of one case. Raises Ended."""
        inputs = {key: value for key, value in vars(case).items() if key not in ("name", "of")}
        answer = self._request({"name": case.name, "of": case.of, "inputs": inputs, "noise": noise})
        evidence = answer.get("evidence")
        if not isinstance(evidence, dict):
            raise Ended("sent something that no probe sends")
        self.bytes_left -= memory_bytes(evidence)
        return evidence

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and returns its answer, which must repeat the request's nonce."""
        nonce = secrets.token_hex(8)
        deadline = min(self.deadline, time.monotonic() + self.task.case_seconds)
        self._send(request | {"nonce": nonce}, deadline)
        answer = self._receive(deadline)
        if not isinstance(answer, dict) or answer.get("nonce") != nonce:
            self.end(0.0)
            raise Ended("wrote into the grader's pipe an answer to another question")
        return answer

    def _send(self, message: dict[str, Any], deadline: float) -> None:
        try:
            pipe.send(self.to_worker, message, deadline, exact=True)
        except pipe.TimedOut:
            raise self._timed_out(deadline) from None
        except pipe.Closed:
            raise self._closed() from None

    def _receive(self, deadline: float) -> Any:
        limits = codec.Limits(body=min(self.bytes_left, codec.Limits.body))
        try:
            return pipe.receive(self.from_worker, limits, deadline)
        except pipe.TimedOut:
            raise self._timed_out(deadline) from None
        except pipe.Closed:
            raise self._closed() from None
        except codec.ProtocolError as error:
            self.end(0.0)
            too_large = "would have" in str(error)
            raise Ended(
                "gave results too large to be judged"
                if too_large
                else f"wrote into the grader's pipe, and what it wrote {error}"
            ) from None

    def _timed_out(self, deadline: float) -> Ended:
        self.end(0.0)
        seconds = self.task.seconds if deadline == self.deadline else self.task.case_seconds
        return Ended(f"was still running after {seconds:.0f} s")

    def _closed(self) -> Ended:
        """Why the worker's pipe has closed. Raises GraderFault if that is not the submission's doing."""
        message = self.end(EXIT_TIMEOUT_S)
        if message.get("full"):
            return Ended("wrote more files, or larger ones, than a kata may")
        if message.get("status") is None:
            raise KilledFromOutside(
                "the process that forks the workers was killed, perhaps because the machine ran out of memory"
            )
        status = message["status"]  # an exit code, or 128 and the number of a signal
        if status == 128 + signal.SIGKILL and message.get("out_of_memory"):
            raise GraderFault("the machine ran out of memory; grade with fewer --jobs, or with more memory")
        code = status if status < 128 else 128 - status
        return Ended(
            describe_exit(code, "its cases were through", ": it closed the grader's pipe, or used up the memory")
        )
