"""The tables of `kata dev`: the proof, latencies, translations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dojo.authoring.translations import Coverage
    from dojo.authoring.verify.report import ProofReport

PROOF_WIDTH = 90  # the longest name of a kata, and every figure whole


def verify_table(out: Console, reports: Iterable["ProofReport"]) -> None:
    """Prints the proof in figures, one row a kata, then the survivors and the shortfalls."""
    reports = list(reports)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for column in (
        "kata",
        "tests",
        "time",
        "mistakes",
        "named",
        "mutants",
        "rate",
        "others",
        "peers",
        "",
    ):
        table.add_column(column, justify="left" if column in ("kata", "") else "right", no_wrap=True)
    for r in reports:
        rejected = len(r.rejected)
        table.add_row(
            r.kata,
            str(r.tests or "-"),
            f"{r.seconds:.1f} s" if r.seconds else "-",
            share(r.caught, r.mistakes),
            share(r.named, r.mistakes),
            share(r.killed, r.mutants),
            "-" if r.kill_rate is None else f"{r.kill_rate:.1%}",
            share(r.alternatives - rejected, r.alternatives),
            share(r.peers - rejected, r.peers),
            Text("short", "red") if r.shortfalls else Text("ok", "green"),
        )
    width, out.width = out.width, max(out.width, PROOF_WIDTH)  # a narrow terminal wraps lines, and cuts no figure
    out.print(table)
    out.width = width
    if dates := [report.proved_on for report in reports if report.proved_on]:
        out.print(
            f"\n{len(dates)} of {len(reports)} are unchanged since they were proved here, last on {max(dates)}; "
            f"--again proves them again.",
            soft_wrap=True,
        )
    mistakes, named = sum(r.mistakes for r in reports), sum(r.named for r in reports)
    if mistakes:
        out.print(f"\nThe run names {named} of {mistakes} mistakes ({named / mistakes:.0%}).")
    if slips := sum(r.slips for r in reports):
        out.print(f"{slips} slips (a function that returns None, a number, a list, another shape) were tried as well.")
    for r in reports:
        for name in r.unnamed:
            out.print(f"[yellow]{r.kata}[/yellow] caught, not named: {escape(name)}")
        for survivor in r.survivors:
            kind = "the probe sees it" if survivor.differs else "the probe sees no difference"
            out.print(
                f"[yellow]{r.kata}[/yellow] survives ({kind}): {escape(survivor.change)}\n"
                f"    {escape(survivor.why or 'not explained')}",
                soft_wrap=True,
            )
    for r in reports:
        for shortfall in r.shortfalls:
            out.print(f"[red]{r.kata}[/red]: {escape(shortfall)}", soft_wrap=True)


def share(part: int, total: int) -> str:
    """`part` of `total` as "3/4", or a dash where there is nothing to count."""
    return f"{part}/{total}" if total else "-"


def latency_table(out: Console, rows: list[tuple[str, ...]]) -> None:
    """Prints the milliseconds from a save to the verdict, with a running fork server and with a cold pytest."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("kata", "first failure", "95 %", "verdict", "95 %", "cold pytest", "cold / warm"):
        table.add_column(column, justify="left" if column == "kata" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    out.print(table)
    out.print("\nMilliseconds from a save to what `kata watch` can show: medians, and what 95 % do not exceed.")


def translation_table(out: Console, rows: Iterable["Coverage"]) -> None:
    """Prints how much of each kata is translated, and what is older than its English."""
    rows = list(rows)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("kata", "texts", "missing", "older"):
        table.add_column(column, justify="left" if column == "kata" else "right", no_wrap=True)
    for row in rows:
        table.add_row(row.kata, str(row.texts), str(row.texts - row.translated or "-"), str(row.older or "-"))
    out.print(table)
    texts, translated = sum(row.texts for row in rows), sum(row.translated for row in rows)
    out.print(f"\n{translated} of {texts} texts are translated. The files to fill in: kata dev translate KATA")
