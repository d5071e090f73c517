"""Stage 2. Groups of zeros and of one sign, two codes in a byte, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint, randn
from dojo.testing.casts import UndefinedCasts
from katas.int4_weights import pack, quantize_groups, unpack

from .helpers import dequantized, expect_form, expect_groups, grouped


def packed(codes, what="pack(codes)"):
    got = pack(codes)
    expect_form(got, (*codes.shape[:-1], codes.shape[-1] // 2), torch.uint8, what, "half of the columns")
    return got


def unpacked(data, what="unpack(packed)"):
    got = unpack(data)
    expect_form(got, (*data.shape[:-1], 2 * data.shape[-1]), torch.uint8, what, "twice the columns")
    return got


def nibbles(rng, *shape):
    return randint(rng, 0, 16, *shape).to(torch.uint8)


def test_a_group_of_zeros_comes_back_as_zeros():
    """0 / 0 is NaN, and what a cast makes of that depends on the machine. The scale is free, as long as it is finite."""
    weight = torch.tensor([[0.0, 0, 0, -2, 13, 1], [1.0, -14, 0, 0, -0.0, 0]])
    with UndefinedCasts() as casts:
        codes, scales, zeros = grouped(weight, 3)
    hint = "where high - low is 0, divide by 1"
    sentence = f"no NaN should be cast to an integer for a group of zeros, but {casts.count} were"
    expect(casts.count == 0, sentence, hint=hint)
    expect(scales.isfinite().all(), f"the scales should be finite, but are {scales.tolist()}", hint=hint)
    got = dequantized(codes, scales, zeros)
    expect_close(got + 0.0, weight + 0.0, what="groups of zeros beside others, quantised and back,", hint=hint)


def test_groups_of_one_sign_reach_to_0():
    """From 3 to 15 the range is [0, 15], and its zero point 0. From -30 to -2 it is [-30, 0], and the zero point 15.
    Otherwise 0 would not be among the codes, and the zero point not in four bits."""
    weight = torch.tensor([[3.0, 4, 15, 7, -30, -2, -10, -6], [0.5, 0.5, 0.5, 0.5, -2, -2, -2, -2]])
    codes, _, zeros = expect_groups(weight, 4, "groups of one sign")
    hint = "low = min(0, smallest), high = max(0, largest)"
    want = torch.tensor([[0, 15], [0, 15]], dtype=torch.uint8)
    expect_equal(zeros, want, what=f"the zeros of groups of 4 of {weight.tolist()}", hint=hint)
    want = torch.tensor([[3, 4, 15, 7, 0, 14, 10, 12], [15] * 4 + [0] * 4], dtype=torch.uint8)
    expect_equal(codes, want, what=f"the codes of groups of 4 of {weight.tolist()}", hint=hint)


def test_both_ends_may_round_up():
    """In [-7.5, 7.5] both ends and the zero point are halfway between two codes: 8 + 8 is 16, which four bits do not
    hold. Symmetric groups are no rare thing."""
    weight = torch.tensor([[-7.5, 7.5, 1, 0.25], [0.6, -0.6, 0.3, 0.6], [-1.0, 1, 1, -1]])
    expect_groups(weight, 4, f"groups of 4 of {weight.tolist()}")


def test_codes_do_not_depend_on_size(rng):
    """A weight times 8 has the same codes and 8 times the scales: nothing is added to a scale, and it has no limit."""
    weight = randn(rng, 4, 8, dtype=torch.float32)
    codes, scales, zeros = grouped(weight, 4)
    for factor in (8.0, 2.0**-40, 2.0**60, 2.0**-110):
        what, hint = f"{factor:g} * weight", "(high - low) / 15: no eps is added, and none is a lower limit"
        new_codes, new_scales, new_zeros = grouped(factor * weight, 4)
        expect_close(new_scales / factor, scales, what=f"the scales of {what}, divided by it,", hint=hint)
        expect_equal(new_zeros, zeros, what=f"the zeros of {what}", hint=hint)
        expect_equal(new_codes, codes, what=f"the codes of {what}", hint=hint)


def test_any_memory_layout(rng):
    """A transposed weight, a slice of columns, a Parameter."""
    weight = randn(rng, 6, 8, dtype=torch.float32)
    want = grouped(weight, 4)
    parameter = torch.nn.Parameter(weight.clone())
    layouts = {"a transpose": weight.mT.contiguous().mT, "a slice": torch.cat([weight, weight], 1)[:, :8]}
    for name, other in {**layouts, "a Parameter": parameter}.items():
        with called_for(f"{name} of a weight", hint="reshape, not view; detach what comes from a Parameter"):
            got = grouped(other, 4)
        for part, new, old in zip(("codes", "scales", "zeros"), got, want, strict=True):
            expect_equal(new, old, what=f"the {part} of {name}, beside those of the plain weight,")
    turned = [part.mT.contiguous().mT for part in want]
    with called_for("codes, scales and zeros in another memory layout", hint="reshape, not view"):
        got = dequantized(*turned)
    expect_equal(got, dequantized(*want), what="what codes in another memory layout stand for")


def test_two_codes_share_a_byte():
    """The code of an even column lies in the low four bits, that of an odd column in the high ones: 1 + 16 * 2 = 33."""
    codes = torch.tensor([[1, 2, 15, 0], [0, 15, 8, 9]], dtype=torch.uint8)
    with expect_unchanged(codes, what="codes"):
        got = packed(codes)
    want = torch.tensor([[33, 15], [240, 152]], dtype=torch.uint8)
    hint = "codes[..., ::2] in the low four bits, codes[..., 1::2] in the high ones (bitsandbytes has it the other way)"
    expect_equal(got, want, what=f"pack({codes.tolist()})", hint=hint)


def test_unpack_undoes_pack():
    """33 is 1 and 2. All 256 bytes: a shift of signed numbers drags the sign along, from 128 on."""
    got = unpacked(torch.tensor([33, 15], dtype=torch.uint8))
    expect_equal(got.tolist(), [1, 2, 15, 0], what="unpack([33, 15])", hint="byte & 15, then byte >> 4, in turns")
    data = torch.arange(256).to(torch.uint8).reshape(16, 16)
    with expect_unchanged(data, what="packed"):
        codes = unpacked(data)
    hint = "low four bits: byte & 15; high ones: byte >> 4, of uint8"
    expect(codes.max() <= 15, f"a code should be at most 15, but unpack gives {codes.max()}", hint=hint)
    expect_equal(packed(codes), data, what="pack(unpack(all 256 bytes))", hint=hint)


@pytest.mark.parametrize("shape", [(6,), (1, 2), (4, 4), (3, 8), (2, 3, 6)], ids=str)
def test_rows_of_any_number(rng, shape):
    """Columns are packed, whatever stands before them."""
    codes = nibbles(rng, *shape)
    with called_for(f"codes of shape {list(shape)}"):
        data = packed(codes, f"pack of {list(shape)}")
        got = unpacked(data, f"unpack of pack of {list(shape)}")
    hint = "the last dimension: codes[..., ::2] and codes[..., 1::2], back in turns"
    expect_equal(got, codes, what=f"unpack(pack(codes)) of shape {list(shape)}", hint=hint)
    first = codes.reshape(-1, 2)[0].tolist()
    expect_equal(data.flatten()[0].item(), first[0] + 16 * first[1], what=f"the byte of the codes {first}", hint=hint)


def test_packing_takes_any_memory_layout(rng):
    codes = nibbles(rng, 4, 6).mT
    with called_for("a transpose of codes", hint="reshape, not view"):
        got, want = packed(codes), packed(codes.contiguous())
        back = unpacked(got.mT.contiguous().mT)
    expect_equal(got, want, what="the bytes of a transpose")
    expect_equal(back, codes, what="the codes of bytes in another memory layout")


def test_groups_must_come_out_even():
    """A group that is left over has no scale; which one it should have is another format."""
    for n, group_size in ((6, 4), (4, 8), (4, 0), (4, -2)):
        words = f"quantize_groups of a weight [2, {n}] in groups of {group_size}"
        with expect_raises(ValueError, what=words, hint="group_size >= 1, and in % group_size == 0"):
            quantize_groups(torch.ones(2, n), group_size)
    for shape in ((4,), (2, 2, 4)):
        with expect_raises(ValueError, what=f"quantize_groups of shape {list(shape)}", hint="weight.dim() == 2"):
            quantize_groups(torch.ones(shape), 2)


def test_what_cannot_be_packed_is_an_error():
    """17 in the low four bits would change the code beside it."""
    with expect_raises(ValueError, what="pack of rows of 3", hint="an even number of columns"):
        pack(torch.ones(2, 3, dtype=torch.uint8))
    for wrong in ([1, 16], [16, 1], [255, 0]):
        with expect_raises(ValueError, what=f"pack([[0, 15], {wrong}])", hint="(codes > 15).any()"):
            pack(torch.tensor([[0, 15], wrong], dtype=torch.uint8))
