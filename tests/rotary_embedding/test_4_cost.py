"""Stage 4. Longer contexts; what a rotation costs."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_flat_operators, expect_traffic, measure, numbers, randn
from katas.rotary_embedding import inverse_frequencies, rotate

from .helpers import speeds

EXACT = {"rtol": 1e-10, "atol": 0.0}


def test_linear_scaling_divides_every_frequency():
    """Position interpolation: position p of the longer context turns as p / factor did."""
    found = inverse_frequencies(8, scaling="linear", factor=4.0)
    what = "inverse_frequencies(8, scaling='linear', factor=4)"
    expect_close(
        found, numbers(0.25, 2.5e-2, 2.5e-3, 2.5e-4), what=what, hint="the plain frequencies / factor", **EXACT
    )


def test_ntk_scaling_keeps_the_fastest_pair_and_slows_the_slowest_by_the_factor():
    """Neighbours stay as far apart as they were, and the longest wave becomes longer."""
    plain, found = inverse_frequencies(8), inverse_frequencies(8, scaling="ntk", factor=4.0)
    hint = "base * factor ** (dim / (dim - 2))"
    expect_close(found[0], plain[0], what="the fastest frequency under ntk", hint=hint, **EXACT)
    expect_close(found[-1], plain[-1] / 4, what="the slowest frequency under ntk with factor 4", hint=hint, **EXACT)
    wanted = plain * numbers(1.0, 4 ** (-1 / 3), 4 ** (-2 / 3), 4**-1)
    expect_close(found, wanted, what="inverse_frequencies(8, scaling='ntk', factor=4)", hint=hint, **EXACT)


@pytest.mark.parametrize("scaling", ["none", "linear", "ntk"])
def test_the_factor_counts_only_where_something_is_scaled(scaling):
    """A factor of 1 changes nothing, and without scaling no factor does."""
    plain, factor = inverse_frequencies(10, 77.0), 8.0 if scaling == "none" else 1.0
    found = inverse_frequencies(10, 77.0, scaling=scaling, factor=factor)
    expect_close(found, plain, what=f"inverse_frequencies(10, 77, scaling={scaling!r}, factor={factor})", **EXACT)
    default = inverse_frequencies(10, 77.0, scaling=scaling)
    expect_close(default, plain, what=f"inverse_frequencies(10, 77, scaling={scaling!r}) without a factor", **EXACT)


def test_one_pair_alone_is_the_fastest_and_the_slowest():
    """dim - 2 is 0 there; ntk leaves its frequency at 1."""
    expect_close(
        inverse_frequencies(2, scaling="ntk", factor=4.0),
        numbers(1.0),
        what="inverse_frequencies(2, 'ntk')",
        hint="do not divide by dim - 2 = 0",
        **EXACT,
    )
    expect_close(
        inverse_frequencies(2, scaling="linear", factor=4.0),
        numbers(0.25),
        what="inverse_frequencies(2, 'linear')",
        **EXACT,
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_rotation_moves_few_bytes(rng, interleaved):
    """It reads x and writes x. The cosines are computed once for all heads, and no [n, n] is built."""
    x, positions = randn(rng, 2, 16, 128, 32, dtype=torch.float32), torch.arange(128)
    frequencies = speeds(16)
    with measure() as spent:
        found = rotate(x, positions, frequencies, interleaved=interleaved)
    expect_equal(list(found.shape), list(x.shape), what="the shape of the turned x")
    hint = "cos and sin of [n, half], broadcast over rows and heads; no matrix for each token"
    expect_traffic(spent, x, 16, what="rotate", of="x", hint=hint)


@pytest.mark.parametrize("interleaved", [False, True])
def test_no_loop_over_heads_tokens_or_pairs(rng, interleaved):
    """The operators are as many for two heads, four tokens and two pairs as for eight, 64 and 16."""

    def inputs(size):
        heads, n, half = size
        return randn(rng, heads, n, 2 * half), torch.arange(n), speeds(half)

    def turn(x, positions, frequencies):
        return rotate(x, positions, frequencies, interleaved=interleaved)

    sizes = [(2, 4, 2), (8, 4, 2), (2, 64, 2), (2, 4, 16)]
    expect_flat_operators(turn, inputs, sizes, what="rotate", hint="work on all pairs of all tokens at once")
