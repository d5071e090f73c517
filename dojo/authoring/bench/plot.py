"""Draws two pictures: the time of every way as a multiple of the reference's, and how time grows with each dimension."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dojo.authoring.bench.results import BenchReport, Measurement
from dojo.authoring.bench.table import blocks

COLOURS = {"reference": "#333333", "yours": "#1b7837"}
NAIVE, ALTERNATIVE = "#999999", "#66c2a5"
PEERS = {
    "transformers": "#d95f02",
    "diffusers": "#7570b3",
    "peft": "#e7298a",
    "loralib": "#a6761d",
    "sklearn": "#1f78b4",
}


def draw(report: BenchReport, folder: Path) -> list[Path]:
    """Draws ratios.svg, and growth.svg if a dimension was swept; returns the files."""
    files = [_ratios(report, folder / "ratios.svg")] if report.measurements else []
    if any(m.swept for m in report.measurements):
        files.append(_growth(report, folder / "growth.svg"))
    return files


def colour(way: str) -> str:
    """Returns the colour of a way, the same in both pictures."""
    return COLOURS.get(way) or PEERS.get(way) or (NAIVE if way.startswith("naive") else ALTERNATIVE)


def _ratios(report: BenchReport, file: Path) -> Path:
    realistic = blocks(m for m in report.measurements if not m.swept)
    counts = list(dict.fromkeys(m.threads for m in report.measurements))
    lines: list[tuple[str, list[Measurement]]] = []
    for block in realistic:
        for way in [way for way in dict.fromkeys(m.way for m in block) if way != "reference"]:
            lines.append((f"{block[0].kata}, {block[0].work}: {way}", [m for m in block if m.way == way]))
    figure, axes = plt.subplots(figsize=(9, 1 + 0.26 * max(1, len(lines))), layout="constrained")
    for place, (_, points) in enumerate(lines):
        for m in points:
            offset = 0.16 * (counts.index(m.threads) - (len(counts) - 1) / 2)
            axes.plot([m.low, m.high], [place + offset] * 2, color=colour(m.way), alpha=0.6)
            marker = "os^Dv"[counts.index(m.threads) % 5]
            axes.plot(m.ratio, place + offset, marker, color=colour(m.way), markersize=5)
    axes.axvline(1, color=COLOURS["reference"], linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(lines)), [text for text, _ in lines], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    marks = ", ".join(f"{mark} {count}" for mark, count in zip("●■▲◆▼", counts, strict=False))
    axes.set_xlabel(f"times as long as the reference ({marks} threads); left of the line is faster")
    figure.savefig(file)
    plt.close(figure)
    return file


def _is_realistic_size_of(m: Measurement, swept: Measurement) -> bool:
    same_way = (m.kata, m.work, m.way, m.threads) == (swept.kata, swept.work, swept.way, swept.threads)
    return same_way and not m.swept


def _growth(report: BenchReport, file: Path) -> Path:
    series: dict[tuple[str, str, str], dict[str, list[Measurement]]] = {}
    for m in report.measurements:
        if m.swept:
            lines = series.setdefault((m.kata, m.work, m.swept), {})
            if m.way not in lines:  # the realistic size belongs to every sweep
                lines[m.way] = [other for other in report.measurements if _is_realistic_size_of(other, m)]
            lines[m.way].append(m)
    across = 4
    down = -(-len(series) // across)
    figure, grid = plt.subplots(down, across, figsize=(3.2 * across, 2.5 * down), layout="constrained", squeeze=False)
    for axes, ((kata, work, swept), lines) in zip(grid.flat, series.items(), strict=False):
        for way, points in lines.items():
            points = sorted(points, key=lambda m: m.size[swept])
            sizes, times_ms = [m.size[swept] for m in points], [m.seconds * 1e3 for m in points]
            axes.plot(sizes, times_ms, "o-", markersize=3, color=colour(way), label=way)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        rest = {name: value for name, value in points[0].size.items() if name != swept}
        axes.set_title(f"{kata}, {work}\n" + ", ".join(f"{k} {v}" for k, v in rest.items()), fontsize=7)
        axes.set_xlabel(swept, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=5)
    for axes in list(grid.flat)[len(series) :]:
        axes.axis("off")
    for row in grid:
        row[0].set_ylabel("milliseconds", fontsize=7)
    figure.savefig(file)
    plt.close(figure)
    return file
