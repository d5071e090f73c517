"""Pearson's chi-square tests on counts of categories."""

import torch
from torch import Tensor

MIN_EXPECTED = 30  # categories that are expected less often are pooled


def fit_p_value(counts: Tensor, probs: Tensor) -> float:
    """The p-value of the hypothesis that `counts` [categories] come from the distribution `probs` [categories].

    Rare categories are pooled, because Pearson's approximation does not hold for small counts.
    """
    expected, order = (probs * counts.sum()).sort()
    counts = counts[order]
    rare = int((expected < MIN_EXPECTED).sum())
    while 0 < rare < expected.numel() and expected[:rare].sum() < MIN_EXPECTED:
        rare += 1  # the pool itself is rare: add the next category
    if rare:
        counts = torch.cat([counts[:rare].sum()[None], counts[rare:]])
        expected = torch.cat([expected[:rare].sum()[None], expected[rare:]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    if counts.numel() < 2:
        return 1.0
    return _p_value(counts, expected, degrees_of_freedom=counts.numel() - 1)


def homogeneity_p_value(a: Tensor, b: Tensor) -> float:
    """The p-value of the hypothesis that the counts `a` and `b` [categories] come from one distribution."""
    counts = torch.stack([a, b]).double()
    counts = counts[:, counts.sum(0) > 0]
    totals = counts.sum(1, keepdim=True)
    if not totals.all() or counts.shape[1] < 2:
        return 1.0 if bool((totals > 0).all()) or torch.equal(totals[0], totals[1]) else 0.0
    expected = totals * counts.sum(0, keepdim=True) / counts.sum()
    return _p_value(counts, expected, degrees_of_freedom=counts.shape[1] - 1)


def _p_value(counts: Tensor, expected: Tensor, degrees_of_freedom: int) -> float:
    """The probability of a chi-square statistic at least as large as that of `counts`."""
    statistic = ((counts - expected) ** 2 / expected).sum()
    half = torch.tensor(degrees_of_freedom / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, statistic / 2))
