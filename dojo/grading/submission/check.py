"""`kata check`: what grading would refuse in a file, without running it."""

import os
from collections.abc import Iterable
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.submission.finding import Finding
from dojo.grading.submission.intake import SubmittedFile, read_submitted_file
from dojo.grading.submission.near_misses import is_archive
from dojo.grading.submission.policy import review


def check_files(checkout: Checkout, catalog: Catalog, files: Iterable[Path]) -> tuple[list[str], bool]:
    """The lines to print, and whether anything would be refused. Raises UserError for a file of no kata."""
    lines: list[str] = []
    refusals = stubs = count = 0
    for file in files:
        _check_is_file(file)
        submitted = read_submitted_file(file, catalog[file.name.removesuffix(".py")].name, checkout=checkout)
        findings = review(checkout, [submitted]).get(submitted.kata, ())
        refusals += sum(finding.refuses for finding in findings) + (submitted.status in ("refused", "error"))
        count += 1
        stubs += submitted.status == "not_attempted"
        lines += _lines(str(file), submitted, findings)
    lines.append(_conclusion(refusals, stubs, count))
    return lines, refusals > 0


def _check_is_file(file: Path) -> None:
    """Raises UserError for anything but a file of source code, whatever its name."""
    if os.path.isdir(file):
        raise UserError(f"{file} is a folder; give files of it: kata check {file}/*.py")
    if not os.path.lexists(file):
        raise UserError(f"There is no file {file}.")
    if is_archive(file.name):
        raise UserError(f"{file} is an archive: unpack it, and give the files in it.")
    if file.suffix == ".ipynb":
        raise UserError(f"{file} is a notebook: export it as {file.stem}.py.")


def _lines(file: str, submitted: SubmittedFile, findings: tuple[Finding, ...]) -> list[str]:
    if submitted.status != "ok":
        return [submitted.reason]
    lines = []
    for finding in findings:
        kind = "" if finding.refuses else "advice: "
        lines.append(f"{file}:{finding.line}:{finding.column}: {kind}{finding.message}")
        lines += [f"    {line}" for line in finding.excerpt.splitlines()]
    return lines


def _conclusion(refusals: int, stubs: int, count: int) -> str:
    if refusals == 1:
        return "One thing here would be refused: mend it, and check again."
    if refusals:
        return f"{refusals} things here would be refused: mend them, and check again."
    if not stubs:
        return "Nothing here would be refused."
    which = "it" if count == 1 else f"{stubs} of {count} files"
    which += " is still the stub: it" if stubs == 1 else " are still stubs: they"
    return f"Nothing here would be refused, but {which} would get no points."
