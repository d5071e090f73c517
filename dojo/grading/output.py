"""Writes the files of `kata grade`: report.json, the other formats, and what they say when nothing could be graded."""

import json
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.grading.results import FORMAT_FILES, SCHEMA, GradeReport


def write_reports(out: Path, report: GradeReport, formats: tuple[str, ...] = ()) -> None:
    """Writes report.json and `formats` into `out`. report.json comes first, so it exists even if a format fails.

    Raises UserError.
    """
    from dojo.grading.reports import read_context, render_formats

    write(out / "report.json", json.dumps(report.as_dict(), indent=1, ensure_ascii=True) + "\n")
    try:
        for name, text in render_formats(report, formats, read_context()).items():
            write(out / name, text)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{out}/report.json is complete, and another format could not be made of it ({type(error).__name__}: {error}). "
            f"Try each by itself: python -m dojo.grading.reports {out}/report.json --out {out} --format FORMAT"
        ) from error


def discard_old_reports(out: Path) -> None:
    """Removes the reports of an earlier grading, and writes a report.json that says this one has not ended."""
    for name in FORMAT_FILES.values():
        (out / name).unlink(missing_ok=True)
    write_failure(out, UserError("The grading was begun and has not come to its end."))


def write_failure(out: Path, error: BaseException) -> None:
    """Writes a report.json without a score that says why nothing was graded."""
    message = str(error) if isinstance(error, UserError) else f"The grader failed: {type(error).__name__}: {error}"
    failure = {
        "schema": SCHEMA,
        "level": "",
        "seed_commitment": "",
        "score": 0,
        "max_score": 0,
        "katas": [],
        "error": message,
    }
    write(out / "report.json", json.dumps(failure, indent=1) + "\n")
