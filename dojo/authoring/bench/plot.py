"""Two pictures: every way's time as a multiple of the reference's, and how time grows with each dimension."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dojo.authoring.bench.results import Found, Report
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


def draw(report: Report, folder: Path) -> list[Path]:
    """ratios.svg, and growth.svg if anything was swept."""
    made = [_ratios(report, folder / "ratios.svg")] if report.found else []
    if any(found.swept for found in report.found):
        made.append(_growth(report, folder / "growth.svg"))
    return made


def colour(way: str) -> str:
    return COLOURS.get(way) or PEERS.get(way) or (NAIVE if way.startswith("naive") else ALTERNATIVE)


def _ratios(report: Report, file: Path) -> Path:
    shown = blocks(found for found in report.found if not found.swept)
    counts = list(dict.fromkeys(found.threads for found in report.found))
    lines: list[tuple[str, list[Found]]] = []
    for block in shown:
        for way in [way for way in dict.fromkeys(f.way for f in block) if way != "reference"]:
            lines.append((f"{block[0].kata}, {block[0].work}: {way}", [f for f in block if f.way == way]))
    figure, axes = plt.subplots(figsize=(9, 1 + 0.26 * max(1, len(lines))), layout="constrained")
    for place, (_, points) in enumerate(lines):
        for found in points:
            offset = 0.16 * (counts.index(found.threads) - (len(counts) - 1) / 2)
            axes.plot([found.low, found.high], [place + offset] * 2, color=colour(found.way), alpha=0.6)
            marker = "os^Dv"[counts.index(found.threads) % 5]
            axes.plot(found.ratio, place + offset, marker, color=colour(found.way), markersize=5)
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


def _base(one: Found, swept: Found) -> bool:
    same = (one.kata, one.work, one.way, one.threads) == (swept.kata, swept.work, swept.way, swept.threads)
    return same and not one.swept


def _growth(report: Report, file: Path) -> Path:
    series: dict[tuple[str, str, str], dict[str, list[Found]]] = {}
    for found in report.found:
        if found.swept:
            lines = series.setdefault((found.kata, found.work, found.swept), {})
            if found.way not in lines:  # the realistic size belongs to every sweep
                lines[found.way] = [one for one in report.found if _base(one, found)]
            lines[found.way].append(found)
    across = 4
    down = -(-len(series) // across)
    figure, grid = plt.subplots(down, across, figsize=(3.2 * across, 2.5 * down), layout="constrained", squeeze=False)
    for axes, ((kata, work, swept), lines) in zip(grid.flat, series.items(), strict=False):
        for way, points in lines.items():
            points = sorted(points, key=lambda one: one.size[swept])
            sizes = [found.size[swept] for found in points]
            axes.plot(
                sizes, [found.seconds * 1e3 for found in points], "o-", markersize=3, color=colour(way), label=way
            )
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
