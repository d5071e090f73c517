"""Grades submissions under one seed: kits are made once a kata, cells are shared by the threads that wait for them."""

import hashlib
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine import diagnosis
from dojo.engine.processes import become_subreaper, children, kill_descendants
from dojo.grading.results import KataResult, Report
from dojo.grading.sandbox import selftest
from dojo.grading.sandbox.sandbox import GraderFault, Sandbox, check_platform
from dojo.grading.sandbox.session import Task
from dojo.grading.scoring import feedback
from dojo.grading.scoring.answer_key import POINTS, Kit, prepare, upstream, watch
from dojo.grading.scoring.score import failed_everywhere, judge
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission import policy
from dojo.grading.submission.intake import Taken, take_in
from dojo.testing import probes

Tell = Callable[[KataResult], None]
NOT_RUN = probes.Raised("", False, not_started=True)


class Grader:
    """Use as a context manager; safe for `jobs` threads at once. No submission may read the `private` paths."""

    def __init__(
        self, checkout: Checkout, katas: list[str], seed: Seed, *,
        jobs: int = 1, without: tuple[str, ...] = (), naming: bool = True, private: tuple[Path, ...] = (),
    ) -> None:  # fmt: skip
        check_platform()
        self.checkout, self.katas, self.seed, self.jobs, self.naming = checkout, katas, seed, jobs, naming
        self.upstream = upstream(checkout, katas)
        self._cells: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        self._all = [Sandbox(private) for _ in range(jobs)]
        for cell in self._all:
            self._cells.put(cell)
        self.stopped = False
        self._locks = {kata: Lock() for kata in katas}
        self._kits: dict[str, Kit | GraderFault] = {}
        self._known: dict[str, dict[Mistake, Any]] = {}
        self._others = frozenset(children())  # whatever else this process has started
        _hide()
        become_subreaper()
        try:
            with self._cell() as cell:
                self.standing = selftest.run_selftest(cell, without)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _cell(self) -> Iterator[Sandbox]:
        cell = self._cells.get()
        try:
            yield cell
        finally:
            self._cells.put(cell)

    def kit(self, kata: str) -> Kit:
        """Raises GraderFault when the reference does not come through; always, then."""
        with self._locks[kata]:
            if kata not in self._kits:
                try:
                    with self._cell() as cell:
                        self._kits[kata] = prepare(cell, self.checkout, kata, self.seed, self.standing.layers)
                except Exception as fault:  # whatever fails here is ours, and costs this kata alone
                    said = str(fault) if isinstance(fault, GraderFault) else f"{type(fault).__name__}: {fault}"
                    self._kits[kata] = GraderFault(said)
            kit = self._kits[kata]
        if isinstance(kit, GraderFault):
            raise kit
        return kit

    def grade(self, folder: Path, tell: Tell = lambda _: None) -> Report:
        """One submission. Raises UserError when there is none in `folder`."""
        began = time.monotonic()
        taken = take_in(folder, self.katas, checkout=self.checkout)
        refused = self._refused(taken)

        def one(kata: str) -> KataResult:
            result = self.grade_file(kata, taken[kata], refused.get(kata, ""))
            if not self.stopped:
                tell(result)
            return result

        with ThreadPoolExecutor(self.jobs) as pool, self.stopping():
            results = tuple(pool.map(one, self.katas))
        return self.report(folder.resolve().name, taken, results, time.monotonic() - began)

    def report(self, name: str, taken: dict[str, Taken], results: tuple[KataResult, ...], seconds: float) -> Report:
        digest = hashlib.sha256("".join(f"{kata} {taken[kata].sha256}\n" for kata in self.katas).encode()).hexdigest()
        return Report(
            name, self.standing.level, self.standing.layer_states(), self.seed.commitment, self.upstream, digest,
            results, round(seconds, 3),
        )  # fmt: skip

    def _refused(self, taken: dict[str, Taken]) -> dict[str, str]:
        """What the policy says against which kata."""
        if "policy" not in self.standing.layers:
            return {}
        found = policy.review(self.checkout, taken.values())
        return {
            kata: " ".join(finding.sentence(f"katas/{kata}.py") for finding in findings if finding.refuses)
            for kata, findings in found.items()
        }

    def grade_file(self, kata: str, taken: Taken, refused: str = "") -> KataResult:
        """One kata of one submission."""
        try:
            kit = self.kit(kata)
        except GraderFault as fault:
            reason = f"The grader failed: {fault}. This is no fault of the submission."
            return KataResult(kata, "error", 0.0, POINTS, (), taken.sha256, reason)
        names = [case.name for case in kit.cases]
        if taken.status != "ok" or taken.source is None:
            return failed_everywhere(kata, names, taken.status, taken.reason, taken.sha256)
        if refused:
            return failed_everywhere(kata, names, "refused", refused, taken.sha256)
        with self._cell() as cell:
            result, seen = judge(cell, kit, taken.source.decode(), taken.sha256)
        if result.status == "fail" and self.naming and seen:
            return _with_mistakes(result, self._name(kit, seen))
        return result

    def _name(self, kit: Kit, seen: dict[str, Any]) -> tuple[str, ...]:
        """The mistakes whose evidence the submission's equals. What it says is a help, so it never fails a grading."""
        with self._locks[kit.kata]:
            if kit.kata not in self._known:
                self._known[kit.kata] = self._evidence_of_mistakes(kit)
        seen = {case.name: seen.get(case.name, {"raised": NOT_RUN}) for case in kit.cases}
        with suppress(Exception):
            wrong = self._known[kit.kata]
            seen = _without_upsets(kit, seen, wrong)
            whole = diagnosis.diagnose(kit.cases, seen, kit.evidence, wrong)
            return tuple(
                mistake.name for mistake in whole or diagnosis.diagnose_partly(seen, kit.evidence, wrong, whole)
            )
        return ()

    def _evidence_of_mistakes(self, kit: Kit) -> dict[Mistake, Any]:
        """One process for all of them; another one after a mistake that hangs or crashes."""
        reference = self.checkout.reference(kit.kata).read_text(encoding="utf-8")
        waiting = list(load_mistakes(self.checkout.mistakes(kit.kata)).named)
        task = Task(kit.kata, "", kit.probe, kit.banned, kit.layers, case_seconds=5, seconds=300)
        found: dict[Mistake, Any] = {}
        before = -1
        while waiting and len(waiting) != before:  # a process that does not even start will not the next time
            before = len(waiting)
            with suppress(GraderFault), self._cell() as cell, cell.run(task) as session:
                while waiting:
                    mistake = waiting.pop(0)
                    found[mistake] = watch(session, mistake.apply(reference), kit.cases, kit.noises)
        return found

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Whatever interrupts this ends the submissions that run, so that their threads come to an end too."""
        try:
            yield
        except BaseException:
            self.stopped = True
            for cell in self._all:
                cell.stop()
                cell.may_have_orphans = True
            raise

    def close(self) -> None:
        for cell in self._all:
            cell.close()
        if any(cell.may_have_orphans for cell in self._all):  # what outlived a zygote came to this process
            kill_descendants(self._others)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _without_upsets(kit: Kit, seen: dict[str, Any], wrong: dict[Mistake, Any]) -> dict[str, Any]:
    """`seen` as if what raised had not run, in each function that gave the probe what it could not handle.

    An AttributeError there is like that of many mistakes; one whose text is a mistake's too remains.
    """

    def known(name: str, raised: probes.Raised) -> bool:
        others = (evidence[name].get("raised") for evidence in wrong.values())
        return any(isinstance(other, probes.Raised) and other.note == raised.note for other in others)

    raised = {
        n: evidence["raised"] for n, evidence in seen.items() if isinstance(evidence.get("raised"), probes.Raised)
    }
    upset = {
        case.of
        for case in kit.cases
        if case.name in raised
        and feedback.upset_the_probe(raised[case.name])
        and not known(case.name, raised[case.name])
    }
    aside = {case.name for case in kit.cases if case.of in upset and case.name in raised}
    return {name: {"raised": NOT_RUN} if name in aside else evidence for name, evidence in seen.items()}


def _with_mistakes(result: KataResult, mistakes: tuple[str, ...]) -> KataResult:
    from dataclasses import replace

    if not mistakes:
        return result
    reason = result.reason + ("" if result.reason.endswith((".", "?", "!")) else ".")
    return replace(result, mistakes=mistakes, reason=f"{reason} It behaves like: {'; '.join(mistakes)}.")


def _hide() -> None:
    """No process of the same user may look into this one's memory, where the expected values are."""
    from dojo.grading.sandbox import syscalls

    with suppress(OSError):
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
