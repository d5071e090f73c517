"""The summary of a GitHub Actions step: Markdown that a submission cannot write into, at most 64 kB."""

from dojo.grading.reports.context import SAYS, Context, failures, figure, why
from dojo.grading.reports.escape import code, markdown
from dojo.grading.results import KataResult, Report

MOST = 64_000  # bytes, for the whole
FEW = 5  # failing cases that are shown of each kata
LEFT_OUT = "\n{} more lines are left out here; `report.json` has everything.\n"


def render(report: Report, context: Context) -> str:
    """The file for `--format summary`."""
    return _fit(_lines(report))


def _lines(report: Report) -> list[str]:
    solved = sum(kata.status == "pass" for kata in report.katas)
    lines = [
        f"# {figure(report.score)} of {figure(report.max_score)} points",
        "",
        f"{solved} of {len(report.katas)} katas pass. Submission: {code(report.submission, 100) or 'without a name'}",
        "",
        "| kata | | points | cases | why |",
        "| --- | --- | ---: | ---: | --- |",
        *map(_row, report.katas),
    ]
    for kata in report.katas:
        lines += _details(kata)
    lines += ["", f"Graded at level {code(report.level)}:", ""]
    lines += [f"- {markdown(layer, 60)}: {code(state, 200)}" for layer, state in report.layers.items()]
    return [*lines, "", f"Seed commitment: {code(report.seed_commitment)}; upstream: {code(report.upstream_sha256)}"]


def _row(kata: KataResult) -> str:
    passed = sum(case.passed for case in kata.cases)
    cells = (
        code(kata.id, 80),
        "✅" if kata.status == "pass" else f"❌ {SAYS[kata.status]}",
        f"{figure(kata.points)} / {figure(kata.max_points)}",
        f"{passed} / {len(kata.cases)}",
        code(why(kata, 160)),
    )
    return f"| {' | '.join(cells)} |"


def _details(kata: KataResult) -> list[str]:
    failed = failures(kata)
    if kata.status == "pass" or not (failed or kata.mistakes):
        return []
    lines = ["", f"### {code(kata.id, 80)}", ""]
    lines += [f"- It behaves like this mistake: {code(mistake, 200)}" for mistake in kata.mistakes[:3]]
    lines += [f"- {code(case.id, 80)}: {code(case.reason, 300) or 'failed'}" for case in failed[:FEW]]
    return [*lines, f"- and {len(failed) - FEW} more"] if len(failed) > FEW else lines


def _fit(lines: list[str]) -> str:
    """As many whole lines as fit."""
    room = MOST - len(LEFT_OUT) - 12  # the number of lines
    size = 0
    for index, line in enumerate(lines):
        size += len(line.encode()) + 1
        if size > room:
            return "\n".join(lines[:index]) + "\n" + LEFT_OUT.format(len(lines) - index)
    return "\n".join(lines) + "\n"
