"""What the platform that received a submission says about it in environment variables."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dojo.grading.reports.escape import plain

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
IS_TIME = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)
ASSIGNMENT_TYPES = ("individual", "group", "team")
MAX_VALUE_CHARACTERS = 2000


@dataclass(frozen=True)
class Context:
    """Who handed in what, and when."""

    classroom: str = "none"
    assignment: str = "katas"
    assignment_type: str = "individual"
    owner: str = "unknown"
    submission: str = "submit/local"
    commit: str = "none"
    release: str = "none"
    review: str = "none"
    datetime: str = "1970-01-01T00:00:00Z"  # when it was handed in
    graded_at: str = "1970-01-01T00:00:00Z"
    submitted_by: str = ""
    submitted_by_id: int | None = None


def read_context(environment: Mapping[str, str] = os.environ, now: datetime | None = None) -> Context:
    """The context from the variables of Classroom 50 and GitHub Actions, with defaults for those that are not set.

    The time of submission is that of the commit: a grading script takes it from git and sets KATA_SUBMITTED_AT. Without
    that variable it is `now`.
    """

    def first(*names: str) -> str:
        values = (plain(environment.get(name, ""), MAX_VALUE_CHARACTERS) for name in names)
        return next((value for value in values if value), "")

    graded_at = (now or datetime.now(UTC)).astimezone(UTC).strftime(TIME_FORMAT)
    submitted_at, kind, actor_id = first("KATA_SUBMITTED_AT"), first("ASSIGNMENT_TYPE"), first("GITHUB_ACTOR_ID")
    server, repository, sha = first("GITHUB_SERVER_URL"), first("GITHUB_REPOSITORY"), first("GITHUB_SHA")
    commit = first("COMMIT_URL") or (f"{server}/{repository}/commit/{sha}" if server and repository and sha else "none")
    tag = first("SUBMISSION_TAG")
    return Context(
        classroom=first("CLASSROOM") or "none",
        assignment=first("ASSIGNMENT") or "katas",
        assignment_type=kind if kind in ASSIGNMENT_TYPES else "individual",
        owner=first("OWNER", "USERNAME", "GITHUB_ACTOR") or "unknown",
        submission=tag if tag.startswith("submit/") else "submit/local",
        commit=commit,
        release=first("RELEASE_URL") or commit,
        review=first("REVIEW_URL") or commit,
        datetime=submitted_at if IS_TIME.fullmatch(submitted_at) else graded_at,
        graded_at=graded_at,
        submitted_by=first("GITHUB_ACTOR"),
        submitted_by_id=int(actor_id) if re.fullmatch(r"[0-9]{1,18}", actor_id) else None,
    )
