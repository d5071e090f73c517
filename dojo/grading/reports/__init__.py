"""Renders a report in the formats that classrooms read. Imports the standard library, core/errors and grading/results only.

So a job that publishes need not install torch: it runs `python -m` with this package. Each format is a pure function
of the report and of what the platform says.
"""

from collections.abc import Callable, Iterable

from dojo.core.errors import UserError
from dojo.grading.reports import classroom, classroom50, exercism, gradescope, junit, summary
from dojo.grading.reports.context import Context, read_context
from dojo.grading.reports.parse import read_report
from dojo.grading.results import FORMAT_FILES, ONLY_MARKS, GradeReport

__all__ = ["FORMATS", "Context", "check_formats", "read_context", "read_report", "render_formats"]

Renderer = Callable[[GradeReport, Context], str]

RENDERERS: dict[str, Renderer] = {
    "junit": junit.render,
    "summary": summary.render,
    "classroom50": classroom50.render,
    "classroom": classroom.render,
    "gradescope": gradescope.render,
    "exercism": exercism.render,
}

# format -> the name of its file, and the function that renders it
FORMATS: dict[str, tuple[str, Renderer]] = {name: (file, RENDERERS[name]) for name, file in FORMAT_FILES.items()}


def check_formats(names: Iterable[str]) -> None:
    """Raises UserError for a name that is no format, and for two formats that would write the same file."""
    format_of_file: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name not in FORMATS:
            raise UserError(f"There is no format {name!r}. Choose from: {', '.join(FORMATS)}.")
        file = FORMATS[name][0]
        if file in format_of_file:
            raise UserError(
                f"{format_of_file[file]} and {name} are both called {file}; ask for one of them, and make the other "
                f"from the report: python -m {__name__} OUT/report.json --out ELSEWHERE --format {name}"
            )
        format_of_file[file] = name


def render_formats(report: GradeReport, names: Iterable[str], context: Context) -> dict[str, str]:
    """The files to write beside report.json: name -> text. Raises UserError as `check_formats` does.

    Where the grader failed on a kata, the formats of which every score is a mark are left out.
    """
    names = list(dict.fromkeys(names))
    check_formats(names)
    names = [name for name in names if name not in ONLY_MARKS or not report.faults]
    return {FORMATS[name][0]: FORMATS[name][1](report, context) for name in names}
