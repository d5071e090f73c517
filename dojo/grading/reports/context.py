"""What only the platform knows about a submission, and what the formats share."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dojo.grading.reports.escape import plain
from dojo.grading.results import CaseResult, KataResult, Report

MOMENT = "%Y-%m-%dT%H:%M:%SZ"
IS_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)
KINDS = ("individual", "group", "team")
SAYS = {
    "pass": "all cases pass",
    "fail": "some cases fail",
    "error": "the grader failed",
    "not_attempted": "not attempted",
    "refused": "refused",
}


@dataclass(frozen=True)
class Context:
    """Who handed in what, when. `datetime` is when it was handed in, `graded_at` when it was graded."""

    classroom: str = "none"
    assignment: str = "katas"
    assignment_type: str = "individual"
    owner: str = "unknown"
    submission: str = "submit/local"
    commit: str = "none"
    release: str = "none"
    review: str = "none"
    datetime: str = "1970-01-01T00:00:00Z"
    graded_at: str = "1970-01-01T00:00:00Z"
    submitted_by: str = ""
    submitted_by_id: int | None = None


def read_context(environment: Mapping[str, str] = os.environ, now: datetime | None = None) -> Context:
    """What Classroom 50 and GitHub Actions say in the environment; the defaults where there is neither.

    The moment of submission is the commit's: KATA_SUBMITTED_AT, which a recipe takes from git. Without it, now.
    """

    def first(*names: str) -> str:
        return next((value for name in names if (value := plain(environment.get(name, ""), 2000))), "")

    graded_at = (now or datetime.now(UTC)).astimezone(UTC).strftime(MOMENT)
    submitted_at, kind, actor_id = first("KATA_SUBMITTED_AT"), first("ASSIGNMENT_TYPE"), first("GITHUB_ACTOR_ID")
    server, repository, sha = first("GITHUB_SERVER_URL"), first("GITHUB_REPOSITORY"), first("GITHUB_SHA")
    commit = first("COMMIT_URL") or (f"{server}/{repository}/commit/{sha}" if server and repository and sha else "none")
    tag = first("SUBMISSION_TAG")
    return Context(
        classroom=first("CLASSROOM") or "none",
        assignment=first("ASSIGNMENT") or "katas",
        assignment_type=kind if kind in KINDS else "individual",
        owner=first("OWNER", "USERNAME", "GITHUB_ACTOR") or "unknown",
        submission=tag if tag.startswith("submit/") else "submit/local",
        commit=commit,
        release=first("RELEASE_URL") or commit,
        review=first("REVIEW_URL") or commit,
        datetime=submitted_at if IS_MOMENT.fullmatch(submitted_at) else graded_at,
        graded_at=graded_at,
        submitted_by=first("GITHUB_ACTOR"),
        submitted_by_id=int(actor_id) if re.fullmatch(r"[0-9]{1,18}", actor_id) else None,
    )


def cases_of(kata: KataResult) -> tuple[CaseResult, ...]:
    """The cases of `kata`, and one more that fails where they all pass (or there is none) and the kata does not."""
    if kata.status == "pass" or any(not case.passed for case in kata.cases):
        return kata.cases
    return (*kata.cases, CaseResult("the kata as a whole", False, kata.reason or SAYS[kata.status]))


def why(kata: KataResult, most: int = 300) -> str:
    """Why a kata has no full mark, in one sentence; empty when it has."""
    if kata.status == "pass":
        return ""
    failed = [case for case in kata.cases if not case.passed]
    said = kata.reason or (f"{failed[0].id}: {failed[0].reason}" if failed else "") or SAYS[kata.status]
    return plain(said, most)


def failures(kata: KataResult) -> list[CaseResult]:
    """The cases that fail for a reason of their own: a refused kata's all fail for the kata's reason."""
    return [case for case in kata.cases if not case.passed and case.reason != kata.reason]


def account(kata: KataResult, most: int = 10) -> str:
    """Why a kata has no full mark, in some lines of plain text: the reason, the mistakes, the first cases that fail."""
    if kata.status == "pass":
        return ""
    failed = failures(kata)
    lines = [plain(kata.reason, 600, lines=8)] if kata.reason else []
    lines += [f"It behaves like this mistake: {plain(mistake, 200)}" for mistake in kata.mistakes[:3]]
    lines += [f"{plain(case.id, 100)}: {plain(case.reason, 300) or 'failed'}" for case in failed[:most]]
    if most and len(failed) > most:
        lines.append(f"... and {len(failed) - most} more of {len(kata.cases)} cases; report.json has them all.")
    return "\n".join(lines) or SAYS[kata.status]


def overall(report: Report) -> str:
    """ "pass", "fail" or "error" for all katas together. Nothing graded is no pass."""
    found = {kata.status for kata in report.katas}
    return "error" if "error" in found or not found else "pass" if found == {"pass"} else "fail"


def hundredths(points: float) -> int:
    """Points as a whole number, for formats that have no fractions."""
    return round(points * 100)


def figure(points: float) -> str:
    """Points as people write them: 7.25, 10."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
