"""What the tests of attention share: random masks, and the checks of weights and of gradients behind a mask."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dojo.testing.checks import expect, expect_close
from dojo.testing.dtypes import roundings


def some_mask(rng: torch.Generator, *shape: int) -> Tensor:
    """A random boolean mask with at least one True in each row."""
    mask = torch.rand(*shape, generator=rng) < 0.5
    return mask | (torch.rand(*shape, generator=rng).argsort(-1) == 0)


def expect_softmax(weights: Tensor, scores: Tensor, *, what: str, hint: str) -> None:
    """Each row of `weights` is the softmax of its row of `scores`: it sums to 1, and its log-odds are their differences.

    To the precision of the scores' dtype: a softmax in a narrower one is told apart, by the log-odds.
    """
    hint_sum = "softmax(dim=-1): over the keys, so that each query's weights sum to 1"
    ones = torch.ones(scores.shape[:-1], dtype=scores.dtype)
    expect_close(weights.sum(-1), ones, what="each query's sum of weights", hint=hint_sum, rtol=0.0, atol=1e-4)
    log_odds = weights.log() - weights.log()[..., :1]
    close = roundings(1e4, scores.dtype, scores)
    expect_close(log_odds, scores - scores[..., :1], what=f"log(weight_j / weight_0) {what}", hint=hint, **close)


def expect_finite_gradients(leaves: Mapping[str, Tensor], *, hint: str) -> None:
    """Each of the named leaves has a gradient, and it is finite."""
    for name, leaf in leaves.items():
        expect(leaf.grad is not None, f"{name} should get a gradient, but gets none", hint="detach nothing")
        finite = leaf.grad is not None and leaf.grad.isfinite().all()
        expect(finite, f"the gradient of {name} should be finite, but is not", hint=hint)
