"""Exercism's results.json, version 3: one test for each case, and each kata is one task.

The status is `error` if the grader failed on a kata, or no test was run because every kata is refused, missing or not
attempted. What a solution prints is not captured, so no test has an `output`.
"""

from typing import Any

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import first_bytes, plain
from dojo.grading.reports.wording import as_json, cases_of, full_reason, overall_status
from dojo.grading.results import GradeReport, KataResult

MAX_MESSAGE_BYTES = 65_535


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format exercism`."""
    any_test_ran = any(kata.status in ("pass", "fail") for kata in report.katas)
    status = overall_status(report) if any_test_ran else "error"
    result: dict[str, Any] = {"version": 3, "status": status}
    if status == "error":
        reasons = [f"{plain(kata.id, 100)}\n{full_reason(kata, max_cases=0) or kata.status}" for kata in report.katas]
        message = first_bytes("\n\n".join(reasons), MAX_MESSAGE_BYTES)
        result["message"] = message or "Nothing was graded: the submission has none of the katas."
    result["tests"] = [test for number, kata in enumerate(report.katas, 1) for test in _tests(kata, number)]
    return as_json(result)


def _tests(kata: KataResult, number: int) -> list[dict[str, Any]]:
    tests = []
    for case in cases_of(kata):
        test: dict[str, Any] = {"name": f"{plain(kata.id, 100)}: {plain(case.id, 200)}", "task_id": number}
        if case.passed:
            test["status"] = "pass"
        else:
            test["status"] = "fail" if kata.status == "fail" else "error"
            test["message"] = plain(case.reason, 2000, lines=12) or plain(kata.reason) or "failed"
        tests.append(test)
    return tests
