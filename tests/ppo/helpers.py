"""Inputs, and calls that check what kind of thing came back."""

import torch

from dojo.testing import expect, randn
from katas.ppo import gae, policy_loss

NAN, INF = float("nan"), float("inf")
DONE = "where dones[:, t] is True, neither V[t + 1] nor advantages[t + 1] counts at step t"
FILL = "replace what stands under a False by 0 before anything is computed: 0 * NaN is NaN, and so is its gradient"
MEAN = "sum over all True entries of the batch, divided by their number"
WIDEN = "convert to torch.promote_types(dtype, torch.float32) first, and stay there"


def table(*rows, dtype=torch.float64):
    """Rows of numbers."""
    return torch.tensor(rows, dtype=dtype)


def masks(*rows):
    """Rows of 0 for False and 1 for True."""
    return torch.tensor(rows).bool()


def full(batch, length):
    """A mask that is True throughout."""
    return torch.ones(batch, length).bool()


def pair(result, function, names):
    """The result, which has to be two tensors."""
    right = isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(x, torch.Tensor) for x in result)
    expect(right, f"{function} should return two tensors, {names}, but returned a {type(result).__name__}")
    return result


def estimates(*given, gamma=0.9, lam=0.8):
    """gae, which returns two tensors."""
    return pair(gae(*given, gamma, lam), "gae", "advantages and returns")


def clipped(*given, **options):
    """policy_loss, which returns two tensors."""
    return pair(policy_loss(*given, **options), "policy_loss", "the loss and the clip fraction")


def episodes(rng, batch, length, dtype=torch.float64):
    """Rewards, values, dones that are all False, and last values."""
    rewards, values = randn(rng, batch, length, dtype=dtype), randn(rng, batch, length, dtype=dtype)
    return rewards, values, ~full(batch, length), randn(rng, batch, dtype=dtype)


def tokens(rng, batch, length, dtype=torch.float64):
    """Log-probabilities, old ones, advantages, and a mask with holes. Some ratios are clipped; none is near a limit."""
    old, ratio = -2 + 0.5 * randn(rng, batch, length), torch.ones(batch, length).double()
    for i, each in enumerate((0.6, 1.05, 1.5, 0.9)):
        ratio.view(-1)[i::4] = each
    mask = (torch.arange(batch * length).view(batch, length) % 5 != 3) & (torch.arange(length) < length - 1)
    given = (old + ratio.log(), old, randn(rng, batch, length))
    return *(each.to(dtype) for each in given), mask
