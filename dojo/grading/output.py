"""TODO: one line."""

import json
from pathlib import Path

from dojo.core import files
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.grading.results import FORMAT_FILES, Report


def own_checkout() -> Checkout:
    """The one that this program is part of: standing in a submission's folder must not bring its references."""
    return find_checkout(Path(__file__).resolve().parent)


def write(out: Path, report: Report, formats: tuple[str, ...] = ()) -> None:
    """report.json first: whatever happens to the others, it is there."""
    from dojo.grading.reports import read_context, render_formats

    files.write(out / "report.json", json.dumps(report.as_dict(), indent=1, ensure_ascii=True) + "\n")
    for name, text in render_formats(report, formats, read_context()).items():
        files.write(out / name, text)


def _forget(out: Path) -> None:
    """An older score must not outlive this grading, however it ends."""
    for name in FORMAT_FILES.values():
        (out / name).unlink(missing_ok=True)
    _write_failure(out, UserError("The grading was begun and has not come to its end."))


def _write_failure(out: Path, error: BaseException) -> None:
    """When nothing could be graded, report.json says so."""
    from dojo.grading.results import SCHEMA

    said = str(error) if isinstance(error, UserError) else f"The grader failed: {type(error).__name__}: {error}"
    failure = {
        "schema": SCHEMA,
        "level": "",
        "seed_commitment": "",
        "score": 0,
        "max_score": 0,
        "katas": [],
        "error": said,
    }
    files.write(out / "report.json", json.dumps(failure, indent=1) + "\n")
