"""Checks a report.json and renders it: `python -m dojo.grading.reports report.json --out DIR --format summary`.

For a job that publishes. Such a job runs no submission and does not trust the job that did. Needs Python alone.
"""

import argparse
import sys
from pathlib import Path

from dojo.core.errors import UserError
from dojo.grading.reports import FORMATS, read_context, read_report, render_formats
from dojo.grading.reports.parse import MAX_REPORT_BYTES
from dojo.grading.reports.wording import decimal, overall_status
from dojo.grading.results import EXIT_WITH_FAULTS, ONLY_MARKS


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 if the report is valid and was rendered, 2 after a sentence on stderr if not.

    It is 3 if a format was left out because the grader failed on a kata: that platform would take it for a mark.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Check and render a report.json.")
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder to write to; this one unless told")
    parser.add_argument("--format", action="append", default=[], choices=list(FORMATS), help="may be given repeatedly")
    parser.add_argument("--outputs", action="store_true", help="print score=, max-score=, status= and level=")
    options = parser.parse_args(arguments)
    try:
        if options.report.is_symlink() or not options.report.is_file():
            raise UserError(f"{options.report} is no file. Name the report.json that `kata grade` wrote.")
        with options.report.open("rb") as file:
            report = read_report(file.read(MAX_REPORT_BYTES + 1))
        options.out.mkdir(parents=True, exist_ok=True)
        for name, text in render_formats(report, options.format, read_context()).items():
            (options.out / name).write_text(text, encoding="utf-8")
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.outputs:
        print(f"score={decimal(report.score)}\nmax-score={decimal(report.max_score)}")
        print(f"status={overall_status(report)}\nlevel={report.level}")
    left_out = [name for name in options.format if name in ONLY_MARKS and report.faults]
    if left_out:
        print(
            f"{left_out[0]} was not written: the grader failed, so it would be no mark. Grade again.", file=sys.stderr
        )
    return EXIT_WITH_FAULTS if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
