"""What GitHub Classroom's autograding actions hand to autograding-grading-reporter (as base64): one test for each kata.

The reporter adds up the tests' scores, and prints names and messages into a log where a runner looks for commands.
Its sums are in floating point, so scores are in hundredths of a point, as for Classroom 50.
"""

from dojo.grading.reports.context import Context, account, as_json, hundredths, overall
from dojo.grading.reports.escape import plain
from dojo.grading.results import KataResult, Report


def render(report: Report, context: Context) -> str:
    """The file for `--format classroom`."""
    return as_json(
        {
            "version": 1,
            "status": overall(report),
            "max_score": sum(hundredths(kata.max_points) for kata in report.katas),
            "tests": [_test(kata) for kata in report.katas],
        }
    )


def _test(kata: KataResult) -> dict[str, object]:
    name = plain(kata.id, 100) or "kata"
    return {
        "name": name,
        "status": kata.status if kata.status in ("pass", "error") else "fail",
        "score": min(hundredths(kata.points), hundredths(kata.max_points)),
        "message": account(kata) or None,
        "test_code": f"pytest tests/test_{name}.py",
        "filename": f"katas/{name}.py",
        "line_no": 0,
        "duration": round(sum(case.seconds for case in kata.cases) * 1000),  # milliseconds
    }
