"""Stage 1. Frequencies, half-split pairs."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_unchanged, numbers, randint, randn
from katas.rotary_embedding import inverse_frequencies, rotate

from .helpers import DIRECTION, SINGLE, drawn, expect_turned, speeds


def test_frequencies_fall_from_one_to_nearly_one_over_the_base():
    """Pair i of dim / 2 has base^(-2 i / dim)."""
    hint = "pair i has base^(-2 i / dim), i from 0, in float64"
    wanted = numbers(1.0, 1e-1, 1e-2, 1e-3)
    expect_close(inverse_frequencies(8), wanted, what="inverse_frequencies(8)", hint=hint, rtol=1e-10, atol=0.0)
    wanted = numbers(1.0, 16 ** (-1 / 3), 16 ** (-2 / 3))
    what = "inverse_frequencies(6, 16.0)"
    expect_close(inverse_frequencies(6, 16.0), wanted, what=what, hint=hint, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("base", [1.0, 0.5])
def test_any_positive_base_will_do(base):
    """At 1 all pairs turn alike, below it the first one is the slowest."""
    wanted = numbers(*(base ** (-i / 3) for i in range(3)))
    found = inverse_frequencies(6, base)
    expect_close(found, wanted, what=f"inverse_frequencies(6, {base})", rtol=1e-10, atol=0.0)


def test_a_pair_turns_counter_clockwise():
    """One radian a position: (1, 0) moves to (cos 1, sin 1). The other way round would be relative as well."""
    x = numbers(1.0, 0.0, 0.0, 1.0).reshape(2, 2)
    wanted = numbers(math.cos(1), math.sin(1), -math.sin(2), math.cos(2)).reshape(2, 2)
    found = rotate(x, torch.tensor([1, 2]), numbers(1.0), interleaved=False)
    expect_close(found, wanted, what="(1, 0) turned by 1 and (0, 1) turned by 2", hint=DIRECTION, **SINGLE)


def test_channel_i_is_the_partner_of_channel_i_plus_half():
    """What a single channel becomes stays in its pair."""
    found = rotate(torch.eye(6, dtype=torch.float64), torch.ones(6, dtype=torch.int64), speeds(3), interleaved=False)
    wanted = torch.zeros(6, 6, dtype=torch.float64)
    for i, angle in enumerate(speeds(3).tolist()):
        wanted[i, i] = wanted[i + 3, i + 3] = math.cos(angle)
        wanted[i, i + 3], wanted[i + 3, i] = math.sin(angle), -math.sin(angle)
    hint = "half-split: the first half of the channels with the second half; channel i turns by frequency i"
    expect_close(found, wanted, what="unit vectors at position 1, half-split", hint=hint, **SINGLE)


def test_x_is_left_alone(rng):
    """Queries and keys are still needed for the backward pass."""
    x, positions = drawn(rng, 4, 6)
    frequencies = speeds(3)
    with expect_unchanged(x, positions, frequencies, what="an argument of rotate"):
        rotate(x, positions, frequencies, interleaved=False)


@pytest.mark.parametrize("dim", [2, 4, 10])
def test_every_pair_turns_by_its_position_times_its_frequency(rng, dim):
    """Positions 0 to n - 1, as in a prompt."""
    x, frequencies = randn(rng, 7, dim), speeds(dim // 2)
    positions = torch.arange(7)
    found = rotate(x, positions, frequencies, interleaved=False)
    hint = "as in the test of one pair, with the angle positions[n] * frequencies[i] for token n and pair i"
    expect_turned(found, x, positions, frequencies, False, what="rotate(x, 0 ... 6)", hint=hint)


def test_position_zero_stays(rng):
    """Positions count from 0, and an angle of 0 turns nothing."""
    x = randn(rng, 3, 8)
    found = rotate(x, torch.zeros(3, dtype=torch.int64), speeds(4), interleaved=False)
    expect_close(found, x, what="x at position 0", hint="the positions are used as they are given", **SINGLE)


def test_lengths_stay(rng):
    """A rotation: no vector gets longer or shorter."""
    x, positions = drawn(rng, 9, 8)
    found = rotate(x, positions, speeds(4), interleaved=False)
    expect_equal(list(found.shape), [9, 8], what="the shape of rotate(x of [9, 8])")
    expect_close(found.norm(dim=-1), x.norm(dim=-1), what="the lengths of turned vectors", hint=DIRECTION, **SINGLE)


def test_scores_depend_on_the_distance_alone(rng):
    """Which is what RoPE is for: shift query and key by any number, and their score stays."""
    q, k, frequencies = randn(rng, 1, 8), randn(rng, 1, 8), speeds(4)

    def score(m, n):
        turn = [rotate(v, torch.tensor([at]), frequencies, interleaved=False) for v, at in ((q, m), (k, n))]
        return (turn[0] * turn[1]).sum()

    for shift in (1, 7, 30):
        what = f"the score of positions {5 + shift} and {2 + shift}, beside 5 and 2"
        expect_close(score(5 + shift, 2 + shift), score(5, 2), what=what, hint=DIRECTION, rtol=0.0, atol=2e-4)


def test_both_functions_fit_together(rng):
    """As a model calls them."""
    x, positions = randn(rng, 5, 16), randint(rng, 0, 40, 5)
    frequencies = inverse_frequencies(16, 500.0)
    wanted = speeds(8, 500.0)
    found = rotate(x, positions, frequencies, interleaved=False)
    what = "rotate with inverse_frequencies(16, 500.0)"
    expect_turned(found, x, positions, wanted, False, what=what, hint=DIRECTION)
