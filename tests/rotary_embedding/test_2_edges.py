"""Stage 2. Interleaved pairs, any positions, partial rotary, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, randint, randn
from katas.rotary_embedding import inverse_frequencies, rotate, to_half_split, to_interleaved

from .helpers import DIRECTION, SINGLE, drawn, expect_turned, speeds

both = pytest.mark.parametrize("interleaved", [False, True])


def test_interleaved_channel_2i_is_the_partner_of_the_next():
    """What a single channel becomes stays in its pair."""
    found = rotate(torch.eye(6, dtype=torch.float64), torch.ones(6, dtype=torch.int64), speeds(3), interleaved=True)
    wanted = torch.zeros(6, 6, dtype=torch.float64)
    for i, angle in enumerate(speeds(3).tolist()):
        wanted[2 * i, 2 * i] = wanted[2 * i + 1, 2 * i + 1] = math.cos(angle)
        wanted[2 * i, 2 * i + 1], wanted[2 * i + 1, 2 * i] = math.sin(angle), -math.sin(angle)
    hint = "interleaved: channels 2 i and 2 i + 1 turn by frequency i, and stay where they are"
    expect_close(found, wanted, what="unit vectors at position 1, interleaved", hint=hint, **SINGLE)


@both
@pytest.mark.parametrize("shape", [(5, 6), (1, 4), (2, 3, 8), (2, 3, 4, 2)])
def test_any_leading_dimensions(rng, interleaved, shape):
    """Rows, heads, none of them; one token; one pair."""
    x, positions = drawn(rng, *shape)
    frequencies = speeds(shape[-1] // 2)
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    expect_turned(found, x, positions, frequencies, interleaved, what=f"rotate of {list(shape)}", hint=DIRECTION)


@both
def test_rows_have_positions_of_their_own(rng, interleaved):
    """Prompts of a batch differ in length, and heads share the positions: [rows, 1, n]."""
    x, frequencies = randn(rng, 3, 2, 4, 6), speeds(3)
    positions = randint(rng, 0, 40, 3, 1, 4)
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    hint = "positions[..., None] * frequencies is broadcast against x; do not take row 0's for all"
    what = "rotate with positions of [rows, 1, n]"
    expect_turned(found, x, positions, frequencies, interleaved, what=what, hint=hint)


@both
def test_one_list_of_positions_serves_all_rows_and_heads(rng, interleaved):
    """[n]. The tokens are the last but one dimension of x, not the heads."""
    x, frequencies = randn(rng, 2, 3, 3, 6), speeds(3)
    positions = torch.tensor([4, 9, 2])
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    hint = "x is [rows, heads, n, dim]: positions run along its last but one dimension"
    expect_turned(found, x, positions, frequencies, interleaved, what="rotate with positions of [n]", hint=hint)


@both
def test_a_chunk_is_turned_as_in_the_whole(rng, interleaved):
    """The cached decoder turns one token at a time, at its own position, and once."""
    x, frequencies = randn(rng, 2, 9, 6), speeds(3)
    whole = rotate(x, torch.arange(9), frequencies, interleaved=interleaved)
    for begin, end in ((0, 4), (4, 8), (8, 9)):
        found = rotate(x[:, begin:end], torch.arange(begin, end), frequencies, interleaved=interleaved)
        hint = "use the positions that are given, not 0, 1, 2, ... in every call; keep no table between calls"
        what = f"the tokens {begin} to {end - 1} by themselves"
        expect_close(found, whole[:, begin:end], what=what, hint=hint, **SINGLE)


@both
def test_rotations_add_up_and_can_be_undone(rng, interleaved):
    """By a and then by b is by a + b; a negative position turns back."""
    x, a = drawn(rng, 5, 8)
    b, frequencies = randint(rng, 0, 40, 5), speeds(4)
    once = rotate(x, a, frequencies, interleaved=interleaved)
    twice = rotate(once, b, frequencies, interleaved=interleaved)
    together = rotate(x, a + b, frequencies, interleaved=interleaved)
    expect_close(twice, together, what="turned by a and then by b", hint=DIRECTION, **SINGLE)
    back = rotate(once, -a, frequencies, interleaved=interleaved)
    expect_close(back, x, what="turned by a and then by -a", hint="negative positions turn the other way", **SINGLE)


@both
@pytest.mark.parametrize("half", [1, 2, 3])
def test_with_fewer_frequencies_the_last_channels_stay(rng, interleaved, half):
    """GPT-NeoX turns a quarter of each head. The turned channels are paired among themselves."""
    x, positions = drawn(rng, 2, 4, 8)
    frequencies = speeds(3)[:half]
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    hint = "turn x[..., : 2 * half], in halves of it or in neighbours, and put the other channels behind"
    what = f"rotate of 8 channels with {half} frequencies"
    expect_turned(found, x, positions, frequencies, interleaved, what=what, hint=hint)
    expect_equal(found[..., 2 * half :], x[..., 2 * half :], what="the channels that have no frequency", hint=hint)


@both
def test_x_may_lie_in_memory_as_it_likes(rng, interleaved):
    """Split into heads by a transpose, or a slice of a fused projection."""
    wide, frequencies = randn(rng, 2, 5, 3, 12), speeds(3)
    x, positions = wide[..., 3:9].transpose(1, 2), torch.arange(5)
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    expect_turned(found, x, positions, frequencies, interleaved, what="rotate of a transposed slice", hint=DIRECTION)


@pytest.mark.parametrize("dim", [7, 1, 0, -2])
def test_an_odd_dim_is_an_error(dim):
    """Or one without a pair."""
    with expect_raises(ValueError, what=f"inverse_frequencies({dim})"):
        inverse_frequencies(dim)


@pytest.mark.parametrize("base", [0.0, -10.0])
def test_a_base_that_is_not_positive_is_an_error(base):
    """It has no powers."""
    with expect_raises(ValueError, what=f"inverse_frequencies(8, {base})"):
        inverse_frequencies(8, base)


@pytest.mark.parametrize("scaling", ["none", "linear", "ntk"])
def test_a_factor_below_one_is_an_error(scaling):
    """It would shorten the context."""
    with expect_raises(ValueError, what=f"inverse_frequencies(8, scaling={scaling!r}, factor=0.5)"):
        inverse_frequencies(8, scaling=scaling, factor=0.5)


def test_another_scaling_is_an_error():
    """A name that is silently ignored is a model that fails at long contexts."""
    with expect_raises(ValueError, what="inverse_frequencies(8, scaling='yarn')"):
        inverse_frequencies(8, scaling="yarn")


@both
def test_more_frequencies_than_pairs_are_an_error(rng, interleaved):
    """As many as x has channels, or one too many."""
    for half in (4, 3):
        with expect_raises(ValueError, what=f"rotate of 4 channels with {half} frequencies"):
            rotate(randn(rng, 2, 4), torch.arange(2), speeds(half), interleaved=interleaved)


@pytest.mark.parametrize("convert", [to_half_split, to_interleaved])
@pytest.mark.parametrize(("rows", "heads"), [(12, 5), (6, 2), (8, 0), (8, -2)])
def test_rows_that_do_not_divide_into_even_heads_are_an_error(convert, rows, heads):
    """12 rows are no 5 heads, and a head of 3 rows has no pairs."""
    with expect_raises(ValueError, what=f"{convert.__name__} of {rows} rows with {heads} heads"):
        convert(torch.zeros(rows, 3), heads)
