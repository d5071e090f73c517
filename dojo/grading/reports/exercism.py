"""Exercism's results.json, version 3: one test for each case, and each kata is one task.

`error` is for a run in which no test was executed: every kata refused, missing or not attempted, or a fault of the
grader's. What a solution prints is not reported, so no test has an `output`.
"""

from typing import Any

from dojo.grading.reports.context import Context, account, as_json, cases_of, overall
from dojo.grading.reports.escape import plain, within
from dojo.grading.results import KataResult, Report

MOST = 65_535  # bytes of the message


def render(report: Report, context: Context) -> str:
    """The file for `--format exercism`."""
    executed = any(kata.status in ("pass", "fail") for kata in report.katas)
    status = "error" if not executed else "pass" if overall(report) == "pass" else "fail"
    result: dict[str, Any] = {"version": 3, "status": status}
    if status == "error":
        said = "\n\n".join(f"{plain(kata.id, 100)}\n{account(kata, most=0) or kata.status}" for kata in report.katas)
        result["message"] = within(said, MOST) or "Nothing was graded: the submission has none of the katas."
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
