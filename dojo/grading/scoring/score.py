"""From evidence to points. Runs in the grader's own process, which never loads a submission."""

import time
from typing import Any

from dojo.grading.results import CaseResult, KataResult
from dojo.grading.sandbox.sandbox import Cell, Ended, GraderFault
from dojo.grading.scoring import feedback
from dojo.grading.scoring.answer_key import POINTS, Kit
from dojo.testing import probes
from dojo.testing.codec import Opaque
from dojo.testing.probes import Counts, Draws, Pairs

RESTARTS = 3  # a crash costs its own case; a submission that ends every process is not humoured for ever
LATE = "not run: the submission had ended its process {} times before"


def failed_everywhere(kata: str, names: list[str], status: Any, reason: str, sha256: str | None = None) -> KataResult:
    """Every expected case, failed for one reason."""
    cases = tuple(CaseResult(name, False, reason) for name in names)
    return KataResult(kata, status, 0.0, POINTS, cases, sha256, reason)


def judge(cell: Cell, kit: Kit, source: str, sha256: str | None = None) -> tuple[KataResult, dict[str, Any]]:
    """Runs one submission of one kata; the result, and the evidence that came (for naming the mistake)."""
    try:
        seen, reasons, seconds = _collect(cell, kit, source)
    except GraderFault as fault:
        return failed_everywhere(
            kit.kata, [c.name for c in kit.cases], "error", f"The grader failed: {fault}.", sha256
        ), {}
    for name, evidence in seen.items():
        reasons.setdefault(name, _why(kit.evidence[name], evidence))
    right = {name for name in seen if not reasons[name]}
    telling = {case.name: case.of for case in kit.cases if case.name not in kit.guessable}
    shown = {of for of in set(telling.values()) if _mostly({n for n in telling if telling[n] == of}, right)}
    if shown:  # a function that has none of these is taken together with the others
        shown |= {case.of for case in kit.cases} - set(telling.values())
    results = []
    for case in kit.cases:
        reason = reasons[case.name]
        if not reason and case.name in kit.guessable and case.of not in shown:
            reason = f"right, but it counts only together with a right result of {case.of}, and there is none"
        results.append(CaseResult(case.name, not reason, reason, round(seconds.get(case.name, 0.0), 4)))
    return _total(kit, tuple(results), seen, sha256), seen


def _mostly(names: set[str], right: set[str]) -> bool:
    """More than half: one lucky case must not bring in all that could be guessed."""
    return 2 * len(names & right) > len(names)


def _total(kit: Kit, cases: tuple[CaseResult, ...], seen: dict[str, Any], sha256: str | None) -> KataResult:
    passed = sum(case.passed for case in cases)
    points = round(POINTS * passed / len(cases), 2)
    if passed == len(cases):
        return KataResult(kit.kata, "pass", POINTS, POINTS, cases, sha256)
    if seen and all(probes.not_started(evidence) for evidence in seen.values()):
        return KataResult(kit.kata, "not_attempted", 0.0, POINTS, cases, sha256, "Nothing in it is written yet.")
    first = next(case for case in cases if not case.passed)
    reason = f"{len(cases) - passed} of {len(cases)} cases fail; the first is {first.id!r}: {first.reason}"
    return KataResult(kit.kata, "fail", min(points, POINTS - 0.01), POINTS, cases, sha256, reason)


def _why(expected: Any, seen: Any) -> str:
    """A comparison that hostile evidence upsets is a failed comparison."""
    try:
        return feedback.why(expected, seen)
    except Exception as error:
        return f"the evidence cannot be compared ({type(error).__name__})"


def counted_like(expected: Any, seen: Any) -> Any:
    """`seen` with its draws counted and pairs compared, where the reference has such; elsewhere nothing is computed.

    What a stranger sends may be small and costly: empty draws from a million categories, pairs without a number in them.
    """
    if isinstance(seen, dict):
        inner = expected if isinstance(expected, dict) else {}
        return {key: counted_like(inner.get(key), value) for key, value in seen.items()}
    if isinstance(seen, Draws):
        asked = isinstance(expected, Counts) and seen.categories == len(expected.counts)
        return seen.counted() if asked else Opaque("draws")
    if isinstance(seen, Pairs):
        asked = isinstance(expected, list) and len(expected) > 0 and expected[0] == list(seen.a.shape)
        return seen.equal() if asked else Opaque("a pair of another shape")
    if isinstance(seen, list):
        listed = expected if isinstance(expected, list) else []
        return [counted_like(listed[i] if i < len(listed) else None, value) for i, value in enumerate(seen)]
    return seen


def _collect(cell: Cell, kit: Kit, source: str) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
    """Counted evidence by case, reasons of the cases that gave none, and seconds.

    After a hang or a crash a new process goes on; what remains of the function that did it comes last, so that it
    cannot use up the time of the others. Only the submission's own time counts.
    """
    seen: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    seconds: dict[str, float] = {}
    waiting = list(kit.cases)
    task = kit.task(source)
    left = task.seconds
    for turn in range(1 + RESTARTS):
        if not waiting or left <= 0:
            break
        began, loaded = time.monotonic(), False
        try:
            with cell.run(task) as session:
                began = time.monotonic()
                session.deadline = began + left
                trouble = session.load()
                loaded = True
                if trouble is not None:
                    why = f"the file cannot be imported: {trouble.name}: {trouble.note}"
                    return seen, reasons | {case.name: why for case in waiting}, seconds
                left -= time.monotonic() - began
                while waiting:
                    case, began = waiting[0], time.monotonic()
                    raw = session.observe(case, kit.noises[case.name])
                    seconds[case.name] = time.monotonic() - began
                    left -= seconds[case.name]
                    try:
                        seen[case.name] = counted_like(kit.evidence[case.name], raw)
                    except Exception as error:  # hostile evidence; ours is counted in `prepare`
                        reasons[case.name] = f"its evidence cannot be counted ({type(error).__name__})"
                    waiting.pop(0)
        except Ended as ended:
            left -= min(time.monotonic() - began, task.case_seconds)  # the grader's own waiting is not theirs
            if not loaded:
                when = "while it was imported it" if turn == 0 else "not run: started again, while it was imported it"
                return seen, reasons | {case.name: f"{when} {ended}" for case in waiting}, seconds
            case = waiting.pop(0)
            reasons[case.name] = f"it {ended}"
            waiting.sort(key=lambda other, of=case.of: other.of == of)  # type: ignore[misc]
    late = "not run: the time of this kata was used up" if left <= 0 else LATE.format(1 + RESTARTS)
    return seen, reasons | {case.name: late for case in waiting}, seconds
