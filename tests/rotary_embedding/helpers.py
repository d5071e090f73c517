"""RoPE pair by pair, and what the tests of both conventions share."""

import math

import torch

from dojo.testing import expect_close, randint, randn

# Angles may be computed in float32: below position 50 they are then off by 3e-6 at most.
SINGLE = {"rtol": 0.0, "atol": 2e-5}
DIRECTION = "(a cos - b sin, a sin + b cos), with the angle position * frequency"


def pairs(half, interleaved):
    """The channels of each pair."""
    return [(2 * i, 2 * i + 1) if interleaved else (i, i + half) for i in range(half)]


def turned(x, positions, frequencies, interleaved):
    """The definition, in float64, one token and one pair at a time."""
    result, positions = x.detach().double().clone(), positions.expand(x.shape[:-1])
    for place in torch.cartesian_prod(*map(torch.arange, x.shape[:-1])).reshape(-1, x.dim() - 1).tolist():
        row, original = result[tuple(place)], x[tuple(place)].double()
        for (one, other), frequency in zip(pairs(len(frequencies), interleaved), frequencies.tolist(), strict=True):
            angle = int(positions[tuple(place)]) * frequency
            row[one] = original[one] * math.cos(angle) - original[other] * math.sin(angle)
            row[other] = original[one] * math.sin(angle) + original[other] * math.cos(angle)
    return result


def speeds(half, base=100.0):
    """Frequencies that differ: base^(-i / half)."""
    return torch.tensor([base ** (-i / half) for i in range(half)], dtype=torch.float64)


def drawn(rng, *shape, dtype=torch.float64):
    """x and positions of its own for each token."""
    return randn(rng, *shape, dtype=dtype), randint(rng, 0, 40, *shape[:-1])


def expect_turned(actual, x, positions, frequencies, interleaved, *, what, hint, **tolerances):
    expect_close(
        actual.double(),
        turned(x, positions, frequencies, interleaved),
        what=what,
        hint=hint,
        **(tolerances or SINGLE),
    )
