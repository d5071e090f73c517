"""Rows of small pictures, with a name before each row and a word above each column."""

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor


def rows(
    pictures: Sequence[Tensor], names: Sequence[str], titles: Sequence[str] = (), size: float = 0.5, margin: float = 1.3
) -> Figure:
    """Each row holds [columns, 1, height, width] pictures: ink is 1, paper is -1 (or the row's own lowest value)."""
    columns = max(map(len, pictures))
    head = 0.24 if titles else 0.04
    width, height = margin + size * columns, head + size * len(pictures)  # inches
    figure, axes = plt.subplots(len(pictures), columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(margin / width, 0, 1, 1 - head / height, wspace=0.1, hspace=0.1)
    for line, row, name in zip(axes, pictures, names, strict=True):
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis in line:
            axis.set_axis_off()
        for axis, picture in zip(line, row, strict=False):
            drawing = picture.shape[-1] > 8
            axis.imshow(picture[0], cmap="gray_r", vmin=0 if drawing else -1, vmax=1, interpolation="nearest")
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9, pad=3)
    return figure
