"""The table that `kata bench` prints: one block a work, one line a way."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from dojo.authoring.bench.results import Found, Report


def show(out: Console, report: Report) -> None:
    """The realistic sizes, then how cost grows, then what was left out."""
    counts = list(dict.fromkeys(found.threads for found in report.found))
    shown = blocks(found for found in report.found if not found.swept)
    widest = max((len(found.way) for found in report.found), default=0) + 2
    for block in shown:
        out.print(f"[bold]{block[0].kata}[/bold] {block[0].says.lower()}: {sized(block[0])}", soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=block is shown[0])
        table.add_column("", no_wrap=True, min_width=widest)
        for threads in counts:
            table.add_column(f"{threads} thread{'s' * (threads > 1)}", justify="right", no_wrap=True, min_width=8)
            table.add_column("times as long", justify="right", no_wrap=True, min_width=16)
        table.add_column("counted", justify="right", no_wrap=True, min_width=10)
        for way in dict.fromkeys(found.way for found in block):
            mine = {found.threads: found for found in block if found.way == way}
            cells = [cell for threads in counts for cell in _cells(mine.get(threads))]
            table.add_row(f"  {way}", *cells, counted(next(iter(mine.values()))))
        floors = {found.threads: found.floor for found in block if found.floor}
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


def blocks(found: Iterable[Found]) -> list[list[Found]]:
    """What belongs to one work at one size, in the order of measurement."""
    together: dict[tuple, list[Found]] = {}
    for one in found:
        together.setdefault((one.kata, one.work, tuple(one.size.items())), []).append(one)
    return list(together.values())


def growth(report: Report) -> list[str]:
    """For each swept dimension: the reference's time and bytes at the largest value, over those at the smallest."""
    lines = []
    series: dict[tuple, list[Found]] = {}
    for one in report.found:
        if one.swept and one.way == "reference":
            series.setdefault((one.kata, one.work, one.swept), []).append(one)
    for (kata, work, swept), points in series.items():
        points = sorted(points, key=lambda one: one.size[swept])
        first, last = points[0], points[-1]
        before, after = getattr(first, first.counts), getattr(last, last.counts)
        work_done = f"{after / before:.1f} times the {first.counts}, ".replace("flops", "FLOPs") if before else ""
        lines.append(
            f"  {kata} {work}: {swept} {first.size[swept]} to {last.size[swept]}: {work_done}"
            f"{last.seconds / first.seconds:.1f} times the time"
        )
    return ["\nHow the reference grows:", *lines] if lines else []


def sized(found: Found) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.size.items())


def digits(ratio: float) -> str:
    """Two decimals below ten, whole numbers from a hundred on."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def timed(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else ""


def counted(found: Found) -> str:
    """The bytes or the FLOPs, whichever the work is about; nothing for work that torch does not see."""
    count, unit = (found.flops, "FLOP") if found.counts == "flops" else (found.bytes, "B")
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {prefix}{unit}"
    return f"{count} {unit}" if count else ""


def _cells(found: Found | None) -> tuple[str, str]:
    if not found:
        return "", ""
    ratio = "1" if found.way == "reference" else f"{digits(found.ratio)} ({digits(found.low)}-{digits(found.high)})"
    return timed(found.seconds), ratio
