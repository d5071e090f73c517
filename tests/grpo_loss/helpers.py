"""Inputs, and the losses of single tokens."""

import math

import torch

from dojo.testing import randn
from katas.grpo_loss import grpo_loss

REDUCTIONS = {"sequence": {}, "token": {"reduction": "token"}, "constant": {"reduction": "constant", "max_length": 7}}
MIN = "-min(r * A, clip(r, 1 - clip_low, 1 + clip_high) * A): A multiplies before the min"


def table(*rows):
    """Rows of tokens."""
    return torch.tensor(rows, dtype=torch.int64)


def masks(*rows):
    """Rows of 0 for False and 1 for True."""
    return table(*rows).bool()


def prefixes(length, *lengths):
    """A mask of rows whose first `lengths` tokens count."""
    return torch.arange(length) < torch.tensor(lengths)[:, None]


def rollout(rng, batch, length, dtype=torch.float64):
    """log_probs, old_log_probs, advantages and reference. About half of the ratios are outside [0.8, 1.2]."""
    old = -2 + randn(rng, batch, length)
    log_probs, reference = old + 0.3 * randn(rng, batch, length), old + 0.5 * randn(rng, batch, length)
    return [each.to(dtype) for each in (log_probs, old, randn(rng, batch), reference)]


def at_ratio(ratio, advantage, dtype=torch.float64, **options):
    """The loss of a single token."""
    old = torch.full((1, 1), -2.0, dtype=dtype)
    mask = torch.ones(1, 1).bool()
    return grpo_loss(old + math.log(ratio), old, torch.tensor([advantage], dtype=dtype), mask, **options)


def each_token(log_probs, old, advantages, **options):
    """The loss of each token as if it were the only one, in the shape of log_probs."""
    mask, reference = torch.ones(1, 1).bool(), options.pop("reference", None)
    losses = []
    for row, advantage in enumerate(advantages):
        for place in range(log_probs.shape[1]):
            one = slice(row, row + 1), slice(place, place + 1)
            more = {} if reference is None else {"reference": reference[one]}
            losses.append(grpo_loss(log_probs[one], old[one], advantage[None], mask, **more, **options))
    return torch.stack(losses).reshape(log_probs.shape)
