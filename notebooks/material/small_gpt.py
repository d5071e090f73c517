"""What `transformer.ipynb` needs beside the learner's parts: first weights, the training loop, and panels of pictures."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

STEPS = 260  # of the whole schedule
ROWS = 16  # windows in a batch


def start_small(blocks: nn.ModuleList) -> None:
    """Draws the blocks' weights as GPT-2 does: deviation 0.02, and less in the layers that end one of the 2 n branches."""
    for name, layer in blocks.named_modules():
        if isinstance(layer, nn.Linear):
            ends_branch = name.endswith((".out", ".down"))
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * len(blocks)) if ends_branch else 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


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


def draw_cuts(axis: Axes, cuts: dict[str, list[str]]) -> None:
    """Draws one sentence a row, cut into tokens of alternating colours."""
    for row, tokens in enumerate(cuts.values()):
        column = 0
        for number, token in enumerate(tokens):
            axis.barh(row, len(token), 0.8, left=column, color=("#cfe3f5", "#ffd9b3")[number % 2])
            for place, letter in enumerate(token, column):
                axis.text(place + 0.5, row, letter, ha="center", va="center", fontsize=9, family="monospace")
            column += len(token)
    axis.set(yticks=range(len(cuts)), yticklabels=list(cuts), xticks=[], ylim=(len(cuts) - 0.4, -0.6))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def draw_map(axis: Axes, weights: Tensor, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Draws weights or probabilities from 0, white, to 1, dark blue, with these names beside them."""
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.spines[:].set(visible=True, color="lightgray")


def draw_levels(axis: Axes, levels: dict[str, float], right: float | None = None) -> None:
    """Draws a dotted line at each level, named above its end at x = `right`."""
    for name, level in levels.items():
        axis.axhline(level, color="gray", linestyle=":", linewidth=1)
        if right is not None:
            axis.text(right, level + 0.08, name, color="gray", ha="right", va="bottom", fontsize=9)
