"""Stage 4. Bytes: what a weight takes, what the layer holds, and what is made on the way. No loop over groups."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_flat_operators, expect_raises, randn
from dojo.testing.describe import describe
from dojo.testing.modules import bytes_held
from katas.int4_weights import bits_per_weight, dequantize_groups, quantize_groups, quantize_nf4

from .helpers import from_linear, grouped, output

INPUTS, OUTPUTS, GROUP = 512, 256, 64
WEIGHTS = INPUTS * OUTPUTS


def bits(*args, **kwargs):
    """bits_per_weight, after a look at what it returned."""
    got = bits_per_weight(*args, **kwargs)
    expect(isinstance(got, int | float), f"bits_per_weight should be a number, but is {describe(got)}")
    return got


@pytest.mark.parametrize(
    ("arguments", "want", "why"),
    [
        ({"block_size": 64}, 4.5, "4 + 32 / 64"),
        ({"block_size": 128, "scale_bits": 16}, 4.125, "4 + 16 / 128"),
        ({"block_size": 32, "scale_bits": 40}, 5.25, "4 + 40 / 32: a float32 scale and a zero point of 8 bits"),
        ({"block_size": 64, "double_block": 256}, 4.126953125, "4 + 8 / 64 + 32 / (64 * 256)"),
        ({"block_size": 32, "scale_bits": 16, "double_block": 8}, 4.3125, "4 + 8 / 32 + 16 / (32 * 8)"),
        ({"block_size": 1}, 36, "4 + 32"),
        ({"block_size": 1, "double_block": 1}, 44, "4 + 8 + 32"),
    ],
)
def test_bits_of_known_formats(arguments, want, why):
    """QLoRA: 4.5 bits, and 4.127 with double quantisation, which saves 3 GB of a 65B model."""
    got = bits(**arguments)
    words = ", ".join(f"{name}={value}" for name, value in arguments.items())
    expect(abs(got - want) < 1e-9, f"bits_per_weight({words}) should be {want}, but is {got}", hint=why)


def test_there_are_no_empty_blocks():
    """The first good value stands beside the last bad one."""
    expect(bits(1, scale_bits=0) == 4, "codes without scales take 4 bits", hint="4 + scale_bits / block_size")
    for wrong in (0, -1):
        with expect_raises(ValueError, what=f"bits_per_weight({wrong})", hint="block_size >= 1"):
            bits_per_weight(wrong)
        words = f"bits_per_weight(64, double_block={wrong})"
        with expect_raises(ValueError, what=words, hint="double_block is None, or 1 or more"):
            bits_per_weight(64, double_block=wrong)


def test_the_layer_holds_what_the_bits_say(rng):
    """40 bits for each group (a scale and a zero point), and the bias. A float copy beside them, kept from the beginning
    or from the first call, makes it more than before."""
    layer = from_linear(nn.Linear(INPUTS, OUTPUTS), GROUP)
    want = round(bits(GROUP, scale_bits=40) * WEIGHTS / 8) + 4 * OUTPUTS
    for when in ("at first", "after a call"):
        size = bytes_held(layer)
        sentence = f"a layer from {INPUTS} to {OUTPUTS} should hold {want} bytes {when}, but holds {size}"
        hint = "no float weight, no source layer, no codes of 8 bits, nothing kept between two calls"
        expect(size == want, sentence, hint=hint)
        output(layer, randn(rng, 1, INPUTS, dtype=torch.float32))


def test_nothing_is_larger_than_the_weight(rng, cost):
    """A forward needs the dequantised weight, or parts of it: as many elements as there are weights."""
    layer, x = from_linear(nn.Linear(INPUTS, OUTPUTS), GROUP), randn(rng, 2, INPUTS, dtype=torch.float32)
    with cost() as spent:
        output(layer, x)
    share = spent.largest / WEIGHTS
    sentence = (
        f"a forward should make no tensor with more elements than the weight, but made one with {share:.3g} times"
    )
    expect(share <= 1.01, sentence, hint="unpack bytes to codes, no table of all pairs")
    sentence = f"torch operators should do the work, but moved only {spent.bytes} bytes, less than the codes"
    expect(spent.bytes >= WEIGHTS // 2, sentence, hint="compute with torch: numpy and Python loops are not counted")


def test_the_nearest_level_needs_no_table_of_distances(rng, cost):
    """Distances to all 16 levels are 16 numbers for each weight: 64 bytes, to find 4 bits."""
    weight = randn(rng, OUTPUTS, INPUTS, dtype=torch.float32)
    with cost() as spent:
        quantize_nf4(weight)
    share = spent.largest / WEIGHTS
    sentence = (
        f"quantize_nf4 should make no tensor of more than twice the weight's elements, but made one of {share:.3g}x"
    )
    hint = "the levels are sorted: torch.bucketize or searchsorted with their 15 midpoints"
    expect(share <= 2, sentence, hint=hint)


def test_all_groups_are_taken_at_once(rng):
    """A Python loop launches operators in proportion to rows, groups or blocks."""

    def weight(rows):
        return (randn(rng, rows, 2 * rows, dtype=torch.float32),)

    hint, more = "one operation for all groups: [out, groups, group_size]", {"slack": 2, "outside_torch": True}
    expect_flat_operators(lambda w: quantize_groups(w, 8), weight, [8, 64], what="quantize_groups", hint=hint, **more)

    def codes(rows):
        return grouped(*weight(rows), 8)

    def back(*parts):
        return dequantize_groups(*parts, torch.float32)

    expect_flat_operators(back, codes, [8, 64], what="dequantize_groups", hint=hint, **more)
    hint = "one operation for all blocks: [blocks, block_size]"
    expect_flat_operators(lambda w: quantize_nf4(w, 16), weight, [8, 64], what="quantize_nf4", hint=hint, **more)
