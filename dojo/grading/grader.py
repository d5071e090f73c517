"""Grades submissions under one seed, in threads that share the answer keys and a pool of sandboxes."""

import hashlib
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from dojo.core.cores import slowdown
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine.diagnosis import diagnose
from dojo.engine.known import compared
from dojo.engine.processes import become_subreaper, children, kill_descendants, prctl
from dojo.grading.results import GradeReport, KataResult
from dojo.grading.sandbox import paths, selftest
from dojo.grading.sandbox.faults import GraderFault, KilledFromOutside, describe_fault
from dojo.grading.sandbox.sandbox import Sandbox, check_platform
from dojo.grading.sandbox.session import Task
from dojo.grading.sandbox.syscalls import PR_SET_DUMPABLE
from dojo.grading.scoring import feedback
from dojo.grading.scoring.answer_key import (
    AnswerKey,
    collect_evidence,
    digest_of_upstream,
    make_answer_key,
)
from dojo.grading.scoring.score import failed_everywhere, judge
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission import policy
from dojo.grading.submission.intake import SubmittedFile, read_submission
from dojo.testing import probes

OnResult = Callable[[KataResult], None]
T = TypeVar("T")
ENDED_ITS_WATCHER = "It ended the process that watches it, also when it was run again."
NOT_RUN = probes.Raised("", False, not_started=True)
MISTAKE_CASE_TIMEOUT_S = 5
MISTAKES_TIMEOUT_S = 300  # for all mistakes of a kata


class Grader:
    """Grades any number of submissions. Use it as a context manager. `jobs` threads may call it at once."""

    def __init__(
        self, checkout: Checkout, katas: list[str], seed: Seed, *,
        jobs: int = 1, without: tuple[str, ...] = (), name_mistakes: bool = True, private: tuple[Path, ...] = (),
    ) -> None:  # fmt: skip
        """No submission may read the paths in `private`. `without` are layers of the sandbox to leave off.

        With `name_mistakes`, wrong answers are compared with the mistakes. Raises UserError or GraderFault.
        """
        check_platform()
        self.checkout, self.katas, self.seed, self.jobs = checkout, katas, seed, jobs
        self.name_mistakes = name_mistakes
        self.upstream_sha256 = digest_of_upstream(checkout, katas)
        # The pack of the checkout that this program runs from is closed to every submission anyway.
        pack = () if checkout.root == paths.CHECKOUT else (checkout.root,)
        self._sandboxes = [Sandbox((*pack, *private)) for _ in range(jobs)]
        # The last one that was used comes first: its fork server has started already.
        self._free_sandboxes: queue.LifoQueue[Sandbox] = queue.LifoQueue()
        for sandbox in self._sandboxes:
            self._free_sandboxes.put(sandbox)
        self.stopped = False
        self._locks = {kata: Lock() for kata in katas}
        self._answer_keys: dict[str, AnswerKey | GraderFault] = {}
        self._mistake_evidence: dict[str, dict[Mistake, Any]] = {}
        self._earlier_children = frozenset(children())  # processes that are not the grader's
        _forbid_memory_access()
        become_subreaper()
        try:
            with self._sandbox() as sandbox:
                self.selftest = selftest.run_selftest(sandbox, without, checkout.solutions)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise GraderFault(f"the sandbox could not be tested: {error}") from error
            raise

    @contextmanager
    def _sandbox(self) -> Iterator[Sandbox]:
        """Waits for a free sandbox, and lends it."""
        sandbox = self._free_sandboxes.get()
        try:
            yield sandbox
        finally:
            self._free_sandboxes.put(sandbox)

    def _with_sandbox(self, work: Callable[[Sandbox], T]) -> T:
        """The result of `work`. After a fault of the grader's it is tried again once, with a new fork server."""
        with self._sandbox() as sandbox:
            try:
                return work(sandbox)
            except GraderFault:
                if self.stopped:
                    raise
                sandbox.close()
                return work(sandbox)

    def answer_key(self, kata: str) -> AnswerKey:
        """The answer key, made at the first call. Raises GraderFault at every call if the reference fails."""
        with self._locks[kata]:
            if kata not in self._answer_keys:
                args = self.checkout, kata, self.seed, self.selftest.layers
                try:
                    self._answer_keys[kata] = self._with_sandbox(lambda sandbox: make_answer_key(sandbox, *args))
                except Exception as error:  # any error here is a fault of the grader, and costs only this kata
                    self._answer_keys[kata] = GraderFault(describe_fault(error))
            stored = self._answer_keys[kata]
        if isinstance(stored, GraderFault):
            raise stored
        return stored

    def grade(self, folder: Path, on_result: OnResult = lambda _: None) -> GradeReport:
        """Grades one submission, and calls `on_result` after each kata. Raises UserError if `folder` holds none."""
        start = time.monotonic()
        files = read_submission(folder, self.katas, checkout=self.checkout)
        readable = [file for file in files.values() if file.status == "ok"]
        refusals = {file.kata: refusal for file, refusal in zip(readable, self.refusals(readable), strict=True)}

        def grade_kata(kata: str) -> KataResult:
            result = self.grade_file(files[kata], refusals.get(kata, ""))
            if not self.stopped:
                on_result(result)
            return result

        with ThreadPoolExecutor(self.jobs) as pool, self.stop_on_error():
            results = tuple(pool.map(grade_kata, self.katas))
        return self.report(folder.resolve().name, files, results, time.monotonic() - start)

    def report(
        self, submission: str, files: dict[str, SubmittedFile], results: tuple[KataResult, ...], seconds: float
    ) -> GradeReport:
        digest = hashlib.sha256("".join(f"{kata} {files[kata].sha256}\n" for kata in self.katas).encode()).hexdigest()
        return GradeReport(
            submission, self.selftest.level, self.selftest.layer_states(), self.seed.commitment, self.upstream_sha256, digest,
            results, round(seconds, 3),
        )  # fmt: skip

    def refusals(self, files: Sequence[SubmittedFile]) -> list[str | GraderFault]:
        """Why the policy refuses each of `files`, in sentences; empty for a file that it accepts. All have a source.

        A fault if the policy itself failed.
        """
        if "policy" not in self.selftest.layers:
            return [""] * len(files)
        try:
            reviews = policy.review_each(self.checkout, files)
        except (UserError, OSError) as error:
            return [GraderFault(describe_fault(error))] * len(files)
        return [
            " ".join(finding.sentence(f"katas/{file.kata}.py") for finding in findings if finding.refuses)
            for file, findings in zip(files, reviews, strict=True)
        ]

    def grade_file(
        self, file: SubmittedFile, refusal: str | GraderFault = "", timeout_factor: float = 1.0
    ) -> KataResult:
        """Grades one kata of one submission. `refusal` is what `refusals` says of it.

        Whatever fails in the grader is an `error`, which is no mark, and not an exception: others wait to be graded.
        """
        try:
            return self._grade_file(file, refusal, timeout_factor)
        except Exception as error:
            description = describe_fault(error).rstrip(".")
            reason = f"The grader failed: {description}. This is no fault of the submission."
            key = self._answer_keys.get(file.kata)
            cases = [case.name for case in key.cases] if isinstance(key, AnswerKey) else []
            return failed_everywhere(file.kata, cases, "error", reason, file.sha256)

    def _grade_file(self, file: SubmittedFile, refusal: str | GraderFault, timeout_factor: float) -> KataResult:
        if isinstance(refusal, GraderFault):
            raise refusal
        key = replace(self.answer_key(file.kata), timeout_factor=timeout_factor)
        cases = [case.name for case in key.cases]
        if file.status != "ok":
            return failed_everywhere(file.kata, cases, file.status, file.reason, file.sha256)
        if refusal:
            return failed_everywhere(file.kata, cases, "refused", refusal, file.sha256)
        assert file.source is not None
        source = file.source.decode()
        try:
            result, evidence = self._with_sandbox(lambda sandbox: judge(sandbox, key, source, file.sha256))
        except KilledFromOutside:
            if "seccomp" in key.layers:
                raise
            return failed_everywhere(file.kata, cases, "fail", ENDED_ITS_WATCHER, file.sha256)
        if result.status == "fail" and self.name_mistakes and evidence:
            return _with_mistakes(result, self._diagnose(key, evidence))
        return result

    def _diagnose(self, key: AnswerKey, evidence: dict[str, Any]) -> tuple[str, ...]:
        """The names of the mistakes whose evidence the submission gives. An error here must not fail a grading."""
        evidence = {case.name: evidence.get(case.name, {"raised": NOT_RUN}) for case in key.cases}
        with suppress(Exception):
            with self._locks[key.kata]:
                if key.kata not in self._mistake_evidence:
                    named = load_mistakes(self.checkout.mistakes(key.kata)).named
                    self._mistake_evidence[key.kata] = self._evidence_of_mistakes(key, named)
            known = compared(key.evidence, self._mistake_evidence[key.kata])
            evidence = _without_failed_probes(key, evidence, known.mistakes)
            return tuple(found.mistake for found in diagnose(key.cases, evidence, known))
        return ()

    def _evidence_of_mistakes(self, key: AnswerKey, mistakes: Sequence[Mistake]) -> dict[Mistake, Any]:
        """The evidence of each mistake. All run in one process; after one that hangs or crashes, another is started.

        Raises GraderFault if no process can be started.
        """
        reference = self.checkout.reference(key.kata).read_text(encoding="utf-8")
        waiting = list(mistakes)
        task = Task(
            key.kata, "", key.probe, key.banned, key.layers,
            case_seconds=MISTAKE_CASE_TIMEOUT_S * slowdown(), seconds=MISTAKES_TIMEOUT_S * slowdown(),
        )  # fmt: skip
        evidence: dict[Mistake, Any] = {}
        waiting_before = -1
        while waiting and len(waiting) != waiting_before:  # give up when a process has not even started
            waiting_before = len(waiting)
            with suppress(GraderFault), self._sandbox() as sandbox, sandbox.run(task) as session:
                while waiting:
                    mistake = waiting.pop(0)
                    source = mistake.apply(reference)
                    evidence[mistake] = collect_evidence(session, source, key.cases, key.noise_seeds)
        if waiting:
            raise GraderFault("no process for the named mistakes could be started")
        return evidence

    @contextmanager
    def stop_on_error(self) -> Iterator[None]:
        """Ends all running submissions on an exception (KeyboardInterrupt, too), so that the threads return."""
        try:
            yield
        except BaseException:
            self.stopped = True
            for sandbox in self._sandboxes:
                sandbox.stop()
                sandbox.may_have_orphans = True
            raise

    def close(self) -> None:
        for sandbox in self._sandboxes:
            sandbox.close()
        if any(sandbox.may_have_orphans for sandbox in self._sandboxes):
            # The orphans of a dead fork server are now this process's children.
            kill_descendants(self._earlier_children)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _without_failed_probes(key: AnswerKey, evidence: dict[str, Any], mistakes: Mapping[Mistake, Any]) -> dict[str, Any]:
    """`evidence` without the exceptions of each function for which the probe itself failed: they count as not run.

    A value of the wrong type makes the probe raise an AttributeError, and so do many mistakes: the exceptions alone say
    little. An exception whose message is also a mistake's is kept.
    """
    raised = {
        name: of_case["raised"]
        for name, of_case in evidence.items()
        if isinstance(of_case.get("raised"), probes.Raised)
    }

    def is_a_mistakes(name: str) -> bool:
        others = (of_mistake[name].get("raised") for of_mistake in mistakes.values())
        return any(isinstance(other, probes.Raised) and other.note == raised[name].note for other in others)

    functions = {
        case.of
        for case in key.cases
        if case.name in raised and feedback.probe_failed(raised[case.name]) and not is_a_mistakes(case.name)
    }
    ignored = {case.name for case in key.cases if case.of in functions and case.name in raised}
    return {name: {"raised": NOT_RUN} if name in ignored else of_case for name, of_case in evidence.items()}


def _with_mistakes(result: KataResult, mistakes: tuple[str, ...]) -> KataResult:
    if not mistakes:
        return result
    reason = result.reason + ("" if result.reason.endswith((".", "?", "!")) else ".")
    return replace(result, mistakes=mistakes, reason=f"{reason} It behaves like: {'; '.join(mistakes)}.")


def _forbid_memory_access() -> None:
    """Stops other processes of this user from reading this one's memory, which holds the expected values."""
    with suppress(OSError):
        prctl(PR_SET_DUMPABLE, 0)
