"""What `vision.ipynb` needs beside the learner's parts: first weights, a training loop, and its pictures."""

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from . import small_gpt
from .gallery import show


def start(module: nn.Module, std: float) -> None:
    """Draws all parameters of two or more dimensions from Normal(0, std), and sets the others, biases, to 0."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
        else:
            nn.init.zeros_(parameter)


def fit(
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    steps: int,
    rate: float,
    weight_decay: float,
    seed: int = 0,
    stop: int | None = None,
) -> list[float]:
    """Trains on losses that draw their own batch with the generator; returns the loss of every step.

    The rate's schedule is made for `steps`; with `stop`, training ends after so many of them.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.2)
    losses = []
    for _ in range(steps if stop is None else stop):
        loss = loss_of(generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def means(losses: Sequence[float], width: int = 10) -> tuple[list[float], list[float]]:
    """The steps and the means of a curve, `width` losses at a time."""
    starts = range(0, len(losses) - width + 1, width)
    return [first + width / 2 for first in starts], [sum(losses[first : first + width]) / width for first in starts]


def draw_puzzles(pictures: Mapping[str, Tensor]) -> None:
    """Draws the same pictures in each row, as one code after the other puts their patches together."""
    show.rows(list(pictures.values()), list(pictures), size=0.55, margin=2.5)
    plt.show()


def draw_training(encoder: Sequence[float], captioner: Sequence[float], blind: float) -> None:
    """Draws both loss curves, and the loss of a captioner that knows the text and sees no picture."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.7), layout="constrained")
    left.plot(encoder, color="lightgray", linewidth=1)
    left.plot(*means(encoder), color="tab:blue")
    left.set(xlabel="step", ylim=(0, 2.6), title="encoder, loss per picture")
    small_gpt.draw_levels(right, {"without a look at the pictures": blind}, right=len(captioner))
    right.plot(captioner, color="lightgray", linewidth=1)
    right.plot(*means(captioner), color="tab:blue")
    right.set(xlabel="step", ylim=(0, 2.6), title="captioner, loss per word that counts")
    plt.show()


def draw_captions(pictures: Sequence[Tensor], captions: Sequence[str], right: Sequence[bool]) -> None:
    """Draws rows of pictures [1, 8, any width], with the caption below each, in red where it is wrong."""
    _, axes = plt.subplots(2, len(pictures) // 2, figsize=(8.4, 3.2), layout="constrained")
    for axis, picture, caption, good in zip(axes.flat, pictures, captions, right, strict=True):
        axis.imshow(picture[0], cmap="gray_r", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(caption, color="black" if good else "tab:red", fontsize=9)
        axis.spines[:].set(visible=True, color="lightgray")
    plt.show()


def draw_looks(pairs: Tensor, looks: Mapping[str, Tensor], captions: Sequence[Sequence[str]]) -> None:
    """Draws, for each pair [2, 1, 8, 8] of pictures, the weights [2, 4, 4] of its patches at each word.

    `looks` has the weights of all pairs at a word, [pairs, 2, 4, 4], and `captions` which word that is for each pair.
    """
    _, axes = plt.subplots(len(pairs), len(looks), figsize=(8.4, 1.45 * len(pairs)), layout="constrained")
    for row, pair in enumerate(pairs):
        for column, (name, weights) in enumerate(looks.items()):
            axis = axes[row, column]
            for place in range(2):
                extent = (9 * place, 9 * place + 8, 8, 0)
                axis.imshow(pair[place, 0], cmap="gray_r", vmin=-1, vmax=1.6, extent=extent)
                axis.imshow(weights[row, place], cmap="Reds", vmin=0, vmax=0.35, alpha=0.6, extent=extent)
            axis.set(xlim=(-0.3, 17.3), ylim=(8.3, -0.3), xticks=[], yticks=[], xlabel=f'"{captions[row][column]}"')
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(name)
    plt.show()


def draw_accuracies(table: Mapping[str, Mapping[str, float]]) -> None:
    """Draws a row for each name and a column for each question, dark blue where all answers are right."""
    columns = list(next(iter(table.values())))
    _, axis = plt.subplots(figsize=(8.4, 0.36 * len(table) + 0.9), layout="constrained")
    numbers = torch.tensor([[values[column] for column in columns] for values in table.values()])
    small_gpt.draw_map(axis, numbers, list(table), columns, written=True)
    axis.set_aspect("auto")
    axis.tick_params(axis="x", rotation=0, length=0, top=False, labeltop=True, labelbottom=False)
    axis.tick_params(axis="y", length=0)
    plt.show()


def draw_curves(curves: Mapping[str, Sequence[float]], right: Sequence[float], blind: float) -> None:
    """Draws the loss curves of mistakes side by side, each in front of that of the right code in grey."""
    _, axes = plt.subplots(1, len(curves), figsize=(8.4, 2.6), layout="constrained", sharey=True)
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        small_gpt.draw_levels(axis, {"blind": blind})
        axis.plot(*means(right), color="darkgray", linewidth=3)
        axis.plot(*means(curve), color="tab:red")
        axis.set(xlabel="step", ylim=(0, 2.6))
        axis.set_title(name)
    axes[0].set_ylabel("loss as the code reports it")
    plt.show()
