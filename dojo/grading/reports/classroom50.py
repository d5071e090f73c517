"""Classroom 50's result.json (classroom50/result/v1): one test for each kata.

Its scores are whole numbers, and points have two decimals. So a score here is in hundredths of a point: 7.25 of 10 points
are 725 of 1000. Nothing is lost, and every submission of a class has the same scale.
"""

from typing import Any

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import plain
from dojo.grading.reports.wording import as_json, full_reason, hundredths
from dojo.grading.results import GradeReport


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format classroom50`."""
    tests: list[dict[str, Any]] = [
        {
            "test-name": plain(kata.id, 100) or "kata",
            "passed": kata.status == "pass",
            "score": min(hundredths(kata.points), hundredths(kata.max_points)),
            "max-score": hundredths(kata.max_points),
            "output": full_reason(kata),
        }
        for kata in report.katas
    ]
    result: dict[str, Any] = {
        "schema": "classroom50/result/v1",
        "classroom": context.classroom,
        "assignment": context.assignment,
        "assignment_type": context.assignment_type,
        "owner": context.owner,
        "submission": context.submission,
        "commit": context.commit,
        "release": context.release,
        "review": context.review,
        "datetime": context.datetime,
        "graded_at": context.graded_at,
        "score": sum(test["score"] for test in tests),
        "max-score": sum(test["max-score"] for test in tests),
        "tests": tests,
    }
    if context.submitted_by:
        result["submitted_by"] = {"username": context.submitted_by, "id": context.submitted_by_id}
    return as_json(result)
