"""The results that GitHub Classroom's autograding-grading-reporter reads (encoded as base64): one test for each kata.

The reporter prints names and messages into a log in which the runner looks for commands. It adds up scores in floating
point, so they are whole: hundredths of a point, as for Classroom 50.
"""

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import plain
from dojo.grading.reports.wording import as_json, full_reason, hundredths, overall_status
from dojo.grading.results import GradeReport, KataResult


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format classroom`."""
    return as_json(
        {
            "version": 1,
            "status": overall_status(report),
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
        "message": full_reason(kata) or None,
        "test_code": f"pytest tests/{name}",
        "filename": f"katas/{name}.py",
        "line_no": 0,
        "duration": round(sum(case.seconds for case in kata.cases) * 1000),  # milliseconds
    }
