"""`kata check`: what grading would say about some files before it runs them."""

import os
from collections.abc import Iterable
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.submission.intake import ARCHIVES, Taken, take_file
from dojo.grading.submission.policy import Finding, review


def check_files(checkout: Checkout, catalog: Catalog, files: Iterable[Path]) -> tuple[list[str], bool]:
    """The lines to print, and whether something would be refused; raises UserError for a file of no kata."""
    lines: list[str] = []
    refusals = stubs = count = 0
    for file in files:
        _check_kind(file)
        taken = take_file(file, catalog[file.name.removesuffix(".py")].name, checkout=checkout)
        found = review(checkout, [taken]).get(taken.kata, ())
        refusals += sum(finding.refuses for finding in found) + (taken.status == "refused")
        count += 1
        stubs += taken.status == "not_attempted"
        lines += _said(str(file), taken, found)
    if refusals == 0:
        which = "it" if count == 1 else f"{stubs} of {count} files"
        which += " is still the stub: it" if stubs == 1 else " are still stubs: they"
        lines.append(f"Nothing here would be refused{f', but {which} would get no points' if stubs else ''}.")
    else:
        what = "One thing here would be refused" if refusals == 1 else f"{refusals} things here would be refused"
        lines.append(f"{what}: mend {'it' if refusals == 1 else 'them'}, and check again.")
    return lines, refusals > 0


def _check_kind(file: Path) -> None:
    """Raises UserError for what is no file to check, whatever it is called."""
    if os.path.isdir(file):
        raise UserError(f"{file} is a folder; give files of it: kata check {file}/*.py")
    if not os.path.lexists(file):
        raise UserError(f"There is no file {file}.")
    if file.name.casefold().endswith(ARCHIVES):
        raise UserError(f"{file} is an archive: unpack it, and give the files in it.")
    if file.suffix == ".ipynb":
        raise UserError(f"{file} is a notebook: export it as {file.stem}.py.")


def _said(file: str, taken: Taken, found: tuple[Finding, ...]) -> list[str]:
    if taken.status != "ok":
        return [taken.reason]
    lines = []
    for finding in found:
        lines.append(
            f"{file}:{finding.line}:{finding.column}: {'' if finding.refuses else 'advice: '}{finding.message}"
        )
        lines += [f"    {line}" for line in finding.excerpt.splitlines()]
    return lines
