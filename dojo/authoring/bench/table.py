"""Prints the table of `kata dev bench`: one block a work, one line a way."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from dojo.authoring.bench.results import BenchReport, Measurement


def show(out: Console, report: BenchReport) -> None:
    """Prints the figures at the realistic sizes, then how cost grows, the notes and the problems."""
    counts = list(dict.fromkeys(m.threads for m in report.measurements))
    realistic = blocks(m for m in report.measurements if not m.swept)
    widest = max((len(m.way) for m in report.measurements), default=0) + 2
    for block in realistic:
        out.print(f"[bold]{block[0].kata}[/bold] {block[0].says.lower()}: {sized(block[0])}", soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=block is realistic[0])
        table.add_column("", no_wrap=True, min_width=widest)
        for threads in counts:
            table.add_column(f"{threads} thread{'s' * (threads > 1)}", justify="right", no_wrap=True, min_width=8)
            table.add_column("times as long", justify="right", no_wrap=True, min_width=16)
        table.add_column("counted", justify="right", no_wrap=True, min_width=10)
        for way in dict.fromkeys(m.way for m in block):
            by_threads = {m.threads: m for m in block if m.way == way}
            cells = [cell for threads in counts for cell in _cells(by_threads.get(threads))]
            table.add_row(f"  {way}", *cells, counted(next(iter(by_threads.values()))))
        floors = {m.threads: m.floor for m in block if m.floor}
        if floors:
            cells = [cell for threads in counts for cell in (timed(floors.get(threads, 0)), "")]
            table.add_row("  the floor", *cells, style="dim")
        out.print(table)
    out.print(
        "\nTimes as long as the reference: the median of pairs measured in turn, and their middle half."
        "\nCounted: the bytes that torch's operators read and write, or their FLOPs."
        "\nThe floor: what any way must spend, at the rate of a large copy or product measured just before (what is in the"
        "\ncache may be faster).",
        soft_wrap=True,
    )
    for line in (*growth(report), *report.notes, *report.problems):
        out.print(line, markup=False, soft_wrap=True)


def blocks(measurements: Iterable[Measurement]) -> list[list[Measurement]]:
    """Groups measurements of the same work at the same size, in the order of measurement."""
    groups: dict[tuple[object, ...], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.kata, m.work, tuple(m.size.items())), []).append(m)
    return list(groups.values())


def growth(report: BenchReport) -> list[str]:
    """Returns a line for each swept dimension: the reference's cost at its largest value, over that at its smallest."""
    lines = []
    series: dict[tuple[str, str, str], list[Measurement]] = {}
    for m in report.measurements:
        if m.swept and m.way == "reference":
            series.setdefault((m.kata, m.work, m.swept), []).append(m)
    for (kata, work, swept), points in series.items():
        points = sorted(points, key=lambda m: m.size[swept])
        first, last = points[0], points[-1]
        before, after = getattr(first, first.counts), getattr(last, last.counts)
        work_done = f"{after / before:.1f} times the {first.counts}, ".replace("flops", "FLOPs") if before else ""
        lines.append(
            f"  {kata} {work}: {swept} {first.size[swept]} to {last.size[swept]}: {work_done}"
            f"{last.seconds / first.seconds:.1f} times the time"
        )
    return ["\nHow the reference grows:", *lines] if lines else []


def sized(m: Measurement) -> str:
    """ "batch 8, vocab 128256"."""
    return ", ".join(f"{name} {value}" for name, value in m.size.items())


def digits(ratio: float) -> str:
    """Formats a ratio: two decimals below ten, none from a hundred on."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def timed(seconds: float) -> str:
    """Formats a time: three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else ""


def counted(m: Measurement) -> str:
    """Formats the bytes or the FLOPs, as the work's `counts` says. Empty if torch's operators did no work."""
    count, unit = (m.flops, "FLOP") if m.counts == "flops" else (m.bytes, "B")
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {prefix}{unit}"
    return f"{count} {unit}" if count else ""


def _cells(m: Measurement | None) -> tuple[str, str]:
    if not m:
        return "", ""
    ratio = "1" if m.way == "reference" else f"{digits(m.ratio)} ({digits(m.low)}-{digits(m.high)})"
    return timed(m.seconds), ratio
