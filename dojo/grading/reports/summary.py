"""The summary of a GitHub Actions step, at most 64 kB of Markdown. Text from a submission is escaped."""

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import code, markdown
from dojo.grading.reports.wording import MAX_MISTAKES, STATUS_TEXTS, decimal, failed_cases, short_reason
from dojo.grading.results import GradeReport, KataResult

MAX_SUMMARY_BYTES = 64_000
MAX_CASES = 5  # failed cases that are shown for each kata
LEFT_OUT = "\n{} more lines are left out here; `report.json` has everything.\n"


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format summary`."""
    return _fit(_lines(report))


def _lines(report: GradeReport) -> list[str]:
    solved = sum(kata.status == "pass" for kata in report.katas)
    lines = [
        f"# {decimal(report.score)} of {decimal(report.max_score)} points",
        "",
        *(["The grader itself failed on some katas: this is no mark.", ""] if report.faults else []),
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
        "✅" if kata.status == "pass" else f"❌ {STATUS_TEXTS[kata.status]}",
        f"{decimal(kata.points)} / {decimal(kata.max_points)}",
        f"{passed} / {len(kata.cases)}",
        code(short_reason(kata, 160)),
    )
    return f"| {' | '.join(cells)} |"


def _details(kata: KataResult) -> list[str]:
    failed = failed_cases(kata)
    if kata.status == "pass" or not (failed or kata.mistakes):
        return []
    lines = ["", f"### {code(kata.id, 80)}", ""]
    lines += [f"- It behaves like this mistake: {code(mistake, 200)}" for mistake in kata.mistakes[:MAX_MISTAKES]]
    lines += [f"- {code(case.id, 80)}: {code(case.reason, 300) or 'failed'}" for case in failed[:MAX_CASES]]
    return [*lines, f"- and {len(failed) - MAX_CASES} more"] if len(failed) > MAX_CASES else lines


def _fit(lines: list[str]) -> str:
    """The lines as one text. If that is too large, the last lines are replaced by their number."""
    room = MAX_SUMMARY_BYTES - len(LEFT_OUT) - 12  # 12 bytes for the number
    size = 0
    for index, line in enumerate(lines):
        size += len(line.encode()) + 1
        if size > room:
            return "\n".join(lines[:index]) + "\n" + LEFT_OUT.format(len(lines) - index)
    return "\n".join(lines) + "\n"
