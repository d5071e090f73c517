"""What `flows.ipynb` needs beside the learner's parts: a distance of samples to data, and its pictures."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from . import small_gpt
from .small_captioner import means

COLOURS = ("tab:red", "tab:orange", "tab:green", "tab:blue")  # noise, data, v, velocity
WAYS = (
    "lightcoral",
    "tab:brown",
    "tab:red",
    "tab:orange",
    "tab:green",
    "tab:blue",
    "tab:cyan",
)  # noise thrice, data, ...


def frechet(images: Tensor, others: Tensor) -> float:
    """The Fréchet distance of two sets of pictures, each taken for a normal distribution of its pixels.

    It is FID's formula, with the pixels themselves for features: the squared distance of the means, and how far the
    covariances are from each other.
    """
    (mean, covariance), (other_mean, other_covariance) = (_moments(each) for each in (images, others))
    root = _root(covariance)
    common = _root(root @ other_covariance @ root)
    apart = (mean - other_mean).square().sum()
    return (apart + covariance.trace() + other_covariance.trace() - 2 * common.trace()).item()


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    pixels = images.clamp(-1, 1).flatten(1).double()
    return pixels.mean(0), pixels.T.cov()


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def draw_paths(paths: Mapping[str, tuple[Tensor, Tensor]], weights: Mapping[str, Tensor], snr: Tensor) -> None:
    """Draws how much data and noise each path mixes, and the weight of each kind's loss along the schedule."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained", width_ratios=(1, 1.7))
    for (name, (signal, spread)), colour in zip(paths.items(), ("tab:green", "tab:blue"), strict=True):
        left.plot(signal, spread, color=colour, label=name)
    left.set(xlabel="weight of the data", ylabel="weight of the noise", xlim=(0, 1.05), ylim=(0, 1.05), aspect="equal")
    left.legend(frameon=False, fontsize=9, loc="lower left")
    for (name, values), colour in zip(weights.items(), COLOURS, strict=False):
        right.plot(snr, values, color=colour, label=name)
    right.set(xscale="log", yscale="log", xlabel="snr (pure noise is far to the left)", ylim=(1e-3, 10))
    right.set(xlim=(1e-3, 1e3), title="weight of the squared error, gamma = 5")
    right.legend(frameon=False, fontsize=9, title="predicted")
    plt.show()


def draw_training(curves: Mapping[str, Sequence[float]], times: Sequence[int], errors: Mapping[str, Tensor]) -> None:
    """Draws the losses in training, and the error of x0 that each model implies at each t."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained")
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        left.plot(*means(curve), color=colour)
        right.plot(times, errors[name], color=colour, marker="o", markersize=3, label=name)
    left.set(xlabel="step", yscale="log", title="loss, each of its own target")
    right.set(xlabel="t of the schedule", yscale="log", title="squared error of x0")
    right.legend(frameon=False, fontsize=9)
    plt.show()


def draw_budgets(calls: Sequence[int], table: Mapping[str, Sequence[Mapping[str, float]]], real: float) -> None:
    """Draws the figures of samples over the number of model calls, a line for each way to sample."""
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.4), layout="constrained")
    colours = dict(zip(table, WAYS, strict=True))
    for axis, key in zip(axes, ("distance", "recognised", "spread"), strict=True):
        for name, rows in table.items():
            axis.plot(calls, [row[key] for row in rows], color=colours[name], marker="o", markersize=3, label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(calls, calls)
        axis.set(xlabel="model calls", title=key)
    axes[0].set(yscale="log", ylim=(0.6, 30))
    axes[0].set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes[0].set_yticks([], minor=True)
    small_gpt.draw_levels(axes[0], {"real": real}, right=calls[-1])
    axes[2].axhline(1, color="lightgray", linewidth=1)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=4, loc="outside lower center")
    plt.show()


def draw_starts(brightness: Mapping[str, Sequence[Tensor]]) -> None:
    """Draws the brightness of each first belief over that of the noise in which it is seen, without the digits' means."""
    _, axes = plt.subplots(1, len(brightness), figsize=(8.4, 2.6), layout="constrained", sharey=True)
    for axis, (name, (noise, belief)) in zip(axes, brightness.items(), strict=True):
        axis.scatter(noise, belief, s=6, color="tab:green")
        axis.set(xlabel="mean of the noise (1 is ink)", title=name)
    axes[0].set_ylabel("mean of the first x0")
    plt.show()


def draw_curves(curves: Mapping[str, Sequence[float]], right: Sequence[float]) -> None:
    """Draws the loss curves of mistakes side by side, each in front of that of the right code in grey."""
    _, axes = plt.subplots(1, len(curves), figsize=(8.4, 2.5), layout="constrained", sharey=True)
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        axis.plot(*means(right), color="darkgray", linewidth=4)
        axis.plot(*means(curve), color="tab:red")
        axis.set(xlabel="step", ylim=(0, 2.3))
        axis.set_title(name, fontsize=9)
    axes[0].set_ylabel("loss as the code reports it")
    plt.show()
