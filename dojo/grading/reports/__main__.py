"""`python -m dojo.grading.reports report.json --out DIR --format summary`: checks a report and renders it again.

For a job that publishes and must neither run a submission nor believe the job that did. Needs Python alone.
"""

import argparse
import sys
from pathlib import Path

from dojo.core.errors import UserError
from dojo.grading.reports import FORMATS, read_context, read_report, render_formats
from dojo.grading.reports.context import figure, overall
from dojo.grading.reports.parse import MOST_BYTES


def main(arguments: list[str] | None = None) -> int:
    """0 when the report is one and was rendered; 2, with a sentence, when not."""
    parser = argparse.ArgumentParser(
        prog="python -m dojo.grading.reports", description="Check and render a report.json."
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder to write to; this one unless told")
    parser.add_argument("--format", action="append", default=[], choices=list(FORMATS), help="may be given repeatedly")
    parser.add_argument("--outputs", action="store_true", help="print score=, max-score=, status= and level=")
    told = parser.parse_args(arguments)
    try:
        if told.report.is_symlink() or not told.report.is_file():
            raise UserError(f"{told.report} is no file. Name the report.json that `kata grade` wrote.")
        with told.report.open("rb") as file:
            report = read_report(file.read(MOST_BYTES + 1))
        told.out.mkdir(parents=True, exist_ok=True)
        for name, text in render_formats(report, told.format, read_context()).items():
            (told.out / name).write_text(text, encoding="utf-8")
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if told.outputs:
        print(f"score={figure(report.score)}\nmax-score={figure(report.max_score)}")
        print(f"status={overall(report)}\nlevel={report.level}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
