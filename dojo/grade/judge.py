"""From evidence to points. Runs in the grader's own process, which never loads a submission."""

import time
from typing import Any

from dojo import probes
from dojo.grade import explain
from dojo.grade.cell import Cell, Ended, GraderFault
from dojo.grade.kit import POINTS, Kit
from dojo.grade.results import CaseResult, KataResult

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
    shown = {of for name, of in telling.items() if name in right}  # what it can, by cases that cannot be guessed
    if shown:  # a function that has none of these is taken together with the others
        shown |= {case.of for case in kit.cases} - set(telling.values())
    results = []
    for case in kit.cases:
        reason = reasons[case.name]
        if not reason and case.name in kit.guessable and case.of not in shown:
            reason = f"right, but it counts only together with a right result of {case.of}, and there is none"
        results.append(CaseResult(case.name, not reason, reason, round(seconds.get(case.name, 0.0), 4)))
    return _total(kit, tuple(results), seen, sha256), seen


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
        return explain.why(expected, seen)
    except Exception as error:
        return f"the evidence cannot be compared ({type(error).__name__})"


def _collect(cell: Cell, kit: Kit, source: str) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
    """Counted evidence by case, reasons of the cases that gave none, and seconds."""
    seen: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    seconds: dict[str, float] = {}
    waiting = list(kit.cases)
    deadline = time.monotonic() + kit.task(source).seconds
    for _ in range(1 + RESTARTS):
        if not waiting or time.monotonic() > deadline:
            break
        try:
            with cell.run(kit.task(source)) as session:
                session.deadline = min(session.deadline, deadline)
                trouble = session.load()
                if trouble is not None:
                    why = f"the file cannot be imported: {trouble.name}: {trouble.note}"
                    return seen, reasons | {case.name: why for case in waiting}, seconds
                while waiting:
                    began = time.monotonic()
                    case = waiting[0]
                    raw = session.observe(case, kit.noises[case.name])
                    seconds[case.name] = time.monotonic() - began
                    try:
                        seen[case.name] = probes.counted(raw)
                    except Exception as error:  # hostile evidence; ours is counted in `prepare`
                        reasons[case.name] = f"its evidence cannot be counted ({type(error).__name__})"
                    waiting.pop(0)
        except Ended as ended:
            if not session.loaded:
                return seen, {case.name: f"while it was imported it {ended}" for case in waiting}, seconds
            reasons[waiting.pop(0).name] = f"it {ended}"
    late = "not run: the time of this kata was used up" if time.monotonic() > deadline else LATE.format(1 + RESTARTS)
    return seen, reasons | {case.name: late for case in waiting}, seconds
