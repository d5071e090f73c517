"""What `transformer.ipynb` needs beside the learner's parts: first weights, the training loop, and panels of pictures."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor, nn

STEPS = 260  # of the whole schedule
ROWS = 16  # windows in a batch


class Norm(nn.Module):
    """A layer of a function norm(x, weight)."""

    def __init__(self, norm: Callable[[Tensor, Tensor], Tensor], dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x, self.weight)


def start_small(blocks: nn.ModuleList) -> None:
    """Draws the blocks' weights as GPT-2 does: deviation 0.02, and less in the layers that end one of the 2 n branches."""
    for name, layer in blocks.named_modules():
        if isinstance(layer, nn.Linear):
            ends_branch = name.endswith((".out", ".down"))
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * len(blocks)) if ends_branch else 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def same_along_diagonals(scores: Tensor) -> bool:
    """Whether [n, n] scores at the same distance are the same, within 1e-4."""
    diagonals = [scores.diagonal(distance) for distance in range(1 - len(scores), len(scores))]
    return all(diagonal.max() - diagonal.min() < 1e-4 for diagonal in diagonals)


def loss_of(model: Any, rows: Tensor) -> float:
    """The loss of texts [rows, n], without training on them."""
    with torch.no_grad():
        return model.loss(rows).item()


def fit(model: Any, text: Tensor, held_out: Tensor, steps: int = STEPS) -> tuple[list[float], list[float]]:
    """Trains on random windows of `text`, as long as the rows of `held_out`, for the first `steps` of the schedule.

    Returns the loss of every step, and the held-out loss before every 20th step and at the end.
    """
    length = held_out.shape[1]
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameter_groups(weight_decay=0.1), lr=6e-3, betas=(0.9, 0.95))
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, STEPS, pct_start=0.1)
    losses, held_losses = [], []
    for step in range(steps):
        if step % 20 == 0:
            held_losses.append(loss_of(model, held_out))
        starts = torch.randint(len(text) - length, (ROWS, 1), generator=generator)
        loss = model.loss(text[starts + torch.arange(length)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    return losses, [*held_losses, loss_of(model, held_out)]


def draw_cuts(axis: Axes, text: str, tokenizers: dict[int, Any]) -> None:
    """Draws the text once for each tokenizer, in a row with its key; the tokens have two alternating colours."""
    for row, tokenizer in enumerate(tokenizers.values()):
        column = 0
        for number, token in enumerate(tokenizer.encode(text)):
            name = tokenizer.vocab[token].decode()
            axis.barh(row, len(name), 0.8, left=column, color=("#cfe3f5", "#ffd9b3")[number % 2])
            for place, letter in enumerate(name, column):
                axis.text(place + 0.5, row, letter, ha="center", va="center", fontsize=9, family="monospace")
            column += len(name)
    axis.set(yticks=range(len(tokenizers)), yticklabels=list(tokenizers), xticks=[], ylim=(len(tokenizers) - 0.4, -0.6))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def draw_map(
    axis: Axes, weights: Tensor, rows: Sequence[str] = (), columns: Sequence[str] = (), written: bool = False
) -> None:
    """Draws weights or probabilities from 0, white, to 1, dark blue, with names beside them; `written` adds numbers."""
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.spines[:].set(visible=True, color="lightgray")
    if written:
        for row, values in enumerate(weights.tolist()):
            for column, p in enumerate(values):
                colour = "white" if p > 0.5 else "black"
                axis.text(column, row, f"{p:.2f}", ha="center", va="center", color=colour, fontsize=9)


def draw_maps(maps: dict[str, Tensor]) -> None:
    """Draws four attention maps side by side."""
    _, axes = plt.subplots(1, 4, figsize=(8.4, 2.4), layout="constrained")
    for axis, (name, weights) in zip(axes, maps.items(), strict=True):
        draw_map(axis, weights)
        axis.set_title(name)
    plt.show()


def draw_scores(scores: dict[str, Tensor]) -> None:
    """Draws four tables of scores [positions, positions], each from its lowest score, white, to its highest, dark blue."""
    _, axes = plt.subplots(1, 4, figsize=(8.4, 2.5), layout="constrained", sharey=True)
    for axis, (name, table) in zip(axes, scores.items(), strict=True):
        axis.imshow(table, cmap="Blues")
        axis.set(xlabel="key's position", xticks=[0, 30, 60], yticks=[0, 30, 60], title=name)
    axes[0].set_ylabel("query's position")
    plt.show()


def draw_levels(axis: Axes, levels: dict[str, float], right: float | None = None) -> None:
    """Draws a dotted line at each level, named above its end at x = `right`."""
    for name, level in levels.items():
        axis.axhline(level, color="gray", linestyle=":", linewidth=1)
        if right is not None:
            axis.text(right, level + 0.08, name, color="gray", ha="right", va="bottom", fontsize=9)


def draw_curves(curves: dict[str, list[float]], right: list[float], levels: dict[str, float]) -> None:
    """Draws six loss curves, each in front of that of the right model in grey; one that begins high has a longer axis."""
    _, axes = plt.subplots(2, 3, figsize=(8.4, 4.6), layout="constrained", sharex=True)
    for axis, (name, curve) in zip(axes.flat, curves.items(), strict=True):
        draw_levels(axis, levels)
        axis.plot(right, color="darkgray")
        axis.plot(curve, color="tab:red", linewidth=1.2)
        axis.set(ylim=(0, max(7.6, 1.1 * curve[0])))
        axis.set_title(name)
    for axis in axes[1]:
        axis.set_xlabel("step")
    plt.show()
