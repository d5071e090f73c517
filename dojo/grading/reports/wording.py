"""What the formats share: the text that explains a result, numbers as they are shown, and JSON."""

import json
from typing import Any

from dojo.grading.reports.escape import plain
from dojo.grading.results import CaseResult, GradeReport, KataResult

STATUS_TEXTS = {
    "pass": "all cases pass",
    "fail": "some cases fail",
    "error": "the grader failed",
    "not_attempted": "not attempted",
    "refused": "refused",
}
MAX_MISTAKES = 3


def cases_of(kata: KataResult) -> tuple[CaseResult, ...]:
    """The cases of `kata`. If none of them fails and the kata does not pass, one more case that fails is added."""
    if kata.status == "pass" or any(not case.passed for case in kata.cases):
        return kata.cases
    return (*kata.cases, CaseResult("the kata as a whole", False, kata.reason or STATUS_TEXTS[kata.status]))


def failed_cases(kata: KataResult) -> list[CaseResult]:
    """The cases that fail for a reason of their own. Of a refused kata there is none: all fail for the kata's reason."""
    return [case for case in kata.cases if not case.passed and case.reason != kata.reason]


def short_reason(kata: KataResult, max_characters: int = 300) -> str:
    """Why a kata has less than full marks, in one sentence; empty if it passes."""
    if kata.status == "pass":
        return ""
    first = next((case for case in kata.cases if not case.passed), None)
    reason = kata.reason or (f"{first.id}: {first.reason}" if first else "") or STATUS_TEXTS[kata.status]
    return plain(reason, max_characters)


def full_reason(kata: KataResult, max_cases: int = 10) -> str:
    """Why a kata has less than full marks, in lines of plain text: reason, mistakes, failed cases. Empty if it passes."""
    if kata.status == "pass":
        return ""
    failed = failed_cases(kata)
    lines = [plain(kata.reason, 600, lines=8)] if kata.reason else []
    lines += [f"It behaves like this mistake: {plain(mistake, 200)}" for mistake in kata.mistakes[:MAX_MISTAKES]]
    lines += [f"{plain(case.id, 100)}: {plain(case.reason, 300) or 'failed'}" for case in failed[:max_cases]]
    if max_cases and len(failed) > max_cases:
        lines.append(f"... and {len(failed) - max_cases} more of {len(kata.cases)} cases; report.json has them all.")
    return "\n".join(lines) or STATUS_TEXTS[kata.status]


def overall_status(report: GradeReport) -> str:
    """ "pass", "fail" or "error" for all katas together. A report without katas is an error."""
    statuses = {kata.status for kata in report.katas}
    return "error" if "error" in statuses or not statuses else "pass" if statuses == {"pass"} else "fail"


def hundredths(points: float) -> int:
    """Points in hundredths, for formats with whole numbers."""
    return round(points * 100)


def decimal(points: float) -> str:
    """Points as people write them: 7.25, 10."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
