"""`kata check`: what grading would say about some files before it runs them."""

from collections.abc import Iterable
from pathlib import Path

from dojo.catalog import Catalog
from dojo.grade.intake import Taken, take_file
from dojo.grade.policy import Finding, review
from dojo.paths import Checkout


def check_files(checkout: Checkout, catalog: Catalog, files: Iterable[Path]) -> tuple[list[str], bool]:
    """The lines to print, and whether something would be refused; raises Problem for a file of no kata."""
    lines: list[str] = []
    refusals = 0
    for file in files:
        taken = take_file(file, catalog[file.name.removesuffix(".py")].name, checkout=checkout)
        found = review(checkout, [taken]).get(taken.kata, ())
        refusals += sum(finding.refuses for finding in found) + (taken.status == "refused")
        lines += _said(str(file), taken, found)
    if refusals == 0:
        lines.append("Nothing here would be refused.")
    else:
        what = "One thing here would be refused" if refusals == 1 else f"{refusals} things here would be refused"
        lines.append(f"{what}: mend {'it' if refusals == 1 else 'them'}, and check again.")
    return lines, refusals > 0


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
