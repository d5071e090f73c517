"""Stage 1. Groups: scales, zero points and codes, and back."""

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_unchanged, numbers, randn

from .helpers import dequantized, expect_groups, grouped

WEIGHT = [[-2.0, 0, 5.5, 1, -20, 10, 6, -2.4], [3.0, -12, 0, 2.2, -0.25, 0.5, 3.5, 0.6]]
CODES = [[0, 4, 15, 6, 0, 15, 13, 9], [15, 0, 12, 14, 0, 3, 15, 3]]
SCALES, ZEROS = [[0.5, 2.0], [1.0, 0.25]], [[4, 10], [12, 1]]


def test_scales_zeros_and_codes_of_a_worked_example():
    """The first group reaches from -2 to 5.5: 15 steps of 0.5, and 0 is the fourth. Rounded, no number is halfway."""
    what = f"groups of 4 of {WEIGHT}"
    codes, scales, zeros = grouped(torch.tensor(WEIGHT), 4)
    hint = "(high - low) / 15 for each group of 4 neighbours in a row: 16 codes have 15 steps between them"
    expect_close(scales, torch.tensor(SCALES), what=f"the scales of {what}", hint=hint)
    hint = "-low / scale, rounded: the code of 0"
    expect_equal(zeros, torch.tensor(ZEROS, dtype=torch.uint8), what=f"the zeros of {what}", hint=hint)
    hint = "(w / scale).round() + zero"
    got = codes.unflatten(1, (2, 4))
    want = torch.tensor(CODES, dtype=torch.uint8).unflatten(1, (2, 4))
    expect_equal(got, want, what=f"the codes of {what}, group by group,", hint=hint)


def test_codes_count_from_the_rounded_zero_point():
    """From -7.4 to 7.6: 0 is 7.4 steps above the lowest, so its code is 7. 0.3 belongs to 0, and not to 1, although
    it is 7.7 steps above the lowest."""
    weight = torch.tensor([[-7.4, 7.6, 0.3, -0.3, 2.2, -3.7]])
    codes, _, zeros = grouped(weight, 6)
    expect_equal(zeros.item(), 7, what=f"the zero of a group {weight[0].tolist()}", hint="(-low / scale).round()")
    want = torch.tensor([[0, 15, 7, 7, 9, 3]], dtype=torch.uint8)
    hint = "(w / scale).round() + zero; (w - low) / scale forgets that the zero point was rounded"
    expect_equal(codes, want, what=f"the codes of a group {weight[0].tolist()}", hint=hint)


def test_dequantize_of_a_worked_example():
    """Half of the codes lie below their zero point."""
    codes, zeros = (torch.tensor(numbers, dtype=torch.uint8) for numbers in (CODES, ZEROS))
    with expect_unchanged(codes, zeros, what="an argument"), called_for("two rows of two groups of 4"):
        got = dequantized(codes, torch.tensor(SCALES), zeros)
    want = torch.tensor([[-2.0, 0, 5.5, 1, -20, 10, 6, -2], [3.0, -12, 0, 2, -0.25, 0.5, 3.5, 0.5]])
    hint = "(code - zero) * scale of its group; uint8 has no negative numbers: 0 - 4 is 252 there"
    what = f"dequantize_groups({CODES}, {SCALES}, {ZEROS})"
    expect_close(got, want, what=what, hint=hint)


@pytest.mark.parametrize(("shape", "group_size"), [((5, 12), 4), ((4, 4), 2), ((3, 6), 6), ((8, 8), 8), ((2, 6), 1)])
def test_no_weight_is_off_by_more_than_half_a_scale(rng, shape, group_size):
    """Rounding costs half a step. The zero point is rounded as well, and that costs nothing: 0 is a step of the grid."""
    weight = randn(rng, *shape, dtype=torch.float32) * 3.0 ** torch.arange(shape[0])[:, None]
    with expect_unchanged(weight, what="the weight"):
        codes, scales, zeros = expect_groups(weight, group_size, f"groups of {group_size} of a {list(shape)} weight")
    got = dequantized(codes, scales, zeros)
    share = (got - weight).abs().double().reshape(*scales.shape, -1) / scales.double()[..., None]
    sentence = f"a weight should come back within scale / 2, but is off by {share.max():.3g} scales"
    expect(share.max() <= 0.501, sentence, hint="dequantize_groups: (code - zero) * scale of the same group")


def test_zero_comes_back_as_zero(rng):
    """Pruned weights, padding and masks are zeros, and should stay so: the reason why a zero point is an integer."""
    weight = randn(rng, 6, 12, dtype=torch.float32)
    weight[torch.arange(6), 2 * torch.arange(6)] = 0
    weight[:, 11] = 0
    back = dequantized(*grouped(weight, 4))
    got = back[weight == 0].abs().max()
    hint = "the same zero point on both ways: (w / scale).round() + zero, and (code - zero) * scale"
    expect(got == 0, f"zeros should come back as 0, but come back as up to {got:.3g}", hint=hint)


def test_a_group_does_not_see_the_others(rng):
    """An outlier takes the digits of its own group, and of no other: that is what groups are for."""
    weight = randn(rng, 4, 12, dtype=torch.float32)
    before = grouped(weight, 4)
    weight[2, 5] = 1000
    after = grouped(weight, 4)
    for name, old, new in zip(("codes", "scales", "zeros"), before, after, strict=True):
        old, new = (part.reshape(4, 3, -1).clone() for part in (old, new))
        old[2, 1], new[2, 1] = 0, 0
        hint = "the smallest and the largest of each group by itself"
        expect_equal(new, old, what=f"{name} of the other groups, after an outlier in one,", hint=hint)


def test_a_larger_group_has_the_larger_range(rng):
    """The range of a group of 8 is that of its two halves together, so that its scale is no smaller than theirs."""
    weight = randn(rng, 3, 16, dtype=torch.float32).abs()  # from 0 on: the range is the largest number
    large, small = grouped(weight, 8)[1], grouped(weight, 4)[1]
    want = small.unflatten(1, (2, 2)).amax(2)
    hint = "weight[:, j * group_size :][:, :group_size] is group j of each row"
    expect_close(large, want, what="the scales of groups of 8, beside those of their halves,", hint=hint)
    tenth = numbers(1.5) / 15
    scale = grouped(torch.tensor([[0.5, 1.5]]), 2)[1].double()[0]
    expect_close(scale, tenth, what="the scale of [0.5, 1.5]", hint="low = min(0, smallest)", rtol=1e-6, atol=0.0)
