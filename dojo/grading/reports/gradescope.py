"""Gradescope's results.json: one test for each kata. All text is marked as plain, since the default may be HTML."""

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import plain
from dojo.grading.reports.wording import STATUS_TEXTS, as_json, full_reason
from dojo.grading.results import GradeReport


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format gradescope`."""
    solved = sum(kata.status == "pass" for kata in report.katas)
    output = f"{solved} of {len(report.katas)} katas pass. Graded at level {plain(report.level, 40)}."
    return as_json(
        {
            "score": report.score,
            "execution_time": round(report.seconds),
            "output": output,
            "output_format": "text",
            "test_output_format": "text",
            "test_name_format": "text",
            "visibility": "visible",
            "stdout_visibility": "hidden",  # what the grader prints is only for the teacher
            "tests": [
                {
                    "score": round(kata.points, 2),
                    "max_score": round(kata.max_points, 2),
                    "status": "passed" if kata.status == "pass" else "failed",
                    "name": plain(kata.id, 100),
                    "number": str(number),
                    "output": full_reason(kata) or STATUS_TEXTS["pass"],
                    "visibility": "visible",
                }
                for number, kata in enumerate(report.katas, 1)
            ],
        }
    )
