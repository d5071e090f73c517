"""Stage 3. NF4, and every dtype."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_unchanged,
    numbers,
    randint,
    randn,
)
from dojo.testing.casts import UndefinedCasts
from katas.int4_weights import dequantize_nf4, quantize_nf4

from .helpers import blocks_of, dequantized, expect_groups, from_nf4, grouped, levels, nf4

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDE = "convert to float32 first"
SHORT = "pad the last block, or take it by itself: it is a block like the others"


def expect_nf4(weight, block_size, what):
    """absmax is exactly max|w| of the block, and no level of NF4 is nearer than that of the code."""
    codes, absmax = nf4(weight, block_size, f"quantize_nf4 of {what}")
    flat, block = blocks_of(weight, block_size)
    most = torch.zeros(len(absmax)).double().scatter_reduce(0, block, flat.abs(), "amax")
    hint = "max|w| of each block, row by row, in float32: not rounded, and not negative"
    expect_equal(absmax, most.float(), what=f"the absmax of blocks of {block_size} of {what}", hint=hint)
    away = (flat[:, None] - most[block, None] * levels()).abs()  # from each level
    excess = (away.gather(1, codes.long()[:, None])[:, 0] - away.amin(1)) / most[block]
    worst = excess.argmax()
    sentence = (
        f"each code should be that of the nearest level, but {what} has {flat[worst] / most[block[worst]]:.4f} of its "
        f"absmax with the code {codes[worst]}, whose level is {levels()[codes[worst].long()]:.4f}"
    )
    expect(excess.max() <= 2e-6, sentence, hint="the number of midpoints of neighbouring levels that lie below")
    return codes, absmax


def test_nf4_of_a_worked_example():
    """Blocks of 8. In the first, divided by 2, 0.9 is nearer to 1 than to 0.723, and -0.75 nearer to -0.696 than to -1."""
    weight = torch.tensor([[-2, 1.8, 0.12, 0, -0.12, -1.5, 0.9, 0.2], [0.4, -0.3, 0.1, -0.1, 0.2, -0.2, 4, 0.32]])
    with expect_unchanged(weight, what="the weight"):
        codes, absmax = nf4(weight, 8)
    what = f"blocks of 8 of {[[round(number, 2) for number in row] for row in weight.tolist()]}"
    expect_equal(absmax, torch.tensor([2.0, 4]), what=f"the absmax of {what}", hint="max|w| of each block")
    want = torch.tensor([[0, 15, 8, 7, 6, 1, 12, 8], [8, 6, 7, 7, 8, 6, 15, 8]], dtype=torch.uint8)
    hint = "the index of the level that is nearest to w / absmax: level 0 is -1, level 7 is 0, level 15 is 1"
    expect_equal(codes.reshape(2, 8), want, what=f"the codes of {what}", hint=hint)


def test_dequantize_nf4_of_a_worked_example():
    """Blocks of 2: each code's level times the absmax of its own block. uint8 as an index is a mask to torch."""
    codes = torch.tensor([0, 15, 7, 8, 1, 14], dtype=torch.uint8)
    absmax, want = torch.tensor([2.0, 4, 1]), levels()[[0, 15, 7, 8, 1, 14]] * numbers(2, 2, 4, 4, 1, 1)
    hint = "NF4[code] * absmax of the block: index with integers that are not uint8, repeat absmax for its block"
    with expect_unchanged(codes, absmax, what="an argument"), called_for("3 blocks of 2", hint=hint):
        got = from_nf4(codes, absmax, (2, 3), block_size=2)
    what = f"dequantize_nf4({codes.tolist()}, {absmax.tolist()}, (2, 3)) in blocks of 2"
    expect_close(got, want.float().reshape(2, 3), what=what, hint=hint, rtol=1e-5, atol=1e-6)


def test_every_level_comes_back(rng):
    """The 16 levels are quantiles of a normal distribution, 7 below 0 and 8 above, -1 and 1 among them. Times the absmax,
    each has its own index as code. Tolerance: 1e-5; the published table is float32."""
    order = torch.randperm(16, generator=rng)
    weight = (levels()[order] * 3).float()
    codes, absmax = nf4(weight, 16)
    hint = "16 levels in their order, from -1 to 1; they are not symmetric: 7 of them are negative, 8 positive"
    expect_equal(codes.tolist(), order.tolist(), what="the codes of the 16 levels, times 3, in some order", hint=hint)
    got = from_nf4(codes, absmax, (16,), block_size=16)
    expect_close(got, weight, what="the 16 levels, quantised and back", hint=hint, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "block_size"),
    [((4, 32), 64), ((3, 50), 64), ((6, 6), 4), ((7,), 3), ((2, 3, 5), 8), ((2, 4), 64), ((9,), 1), ((64, 1), 16)],
    ids=str,
)
def test_every_code_is_the_nearest(rng, shape, block_size):
    """Blocks run through the weight row by row, over the ends of rows; what is left over is a shorter block."""
    weight, what = randn(rng, *shape, dtype=torch.float32), f"a weight {list(shape)} in blocks of {block_size}"
    with called_for(what, hint=SHORT):
        codes, absmax = expect_nf4(weight, block_size, what)
        got = from_nf4(codes, absmax, shape, block_size=block_size)
    share = (got.flatten() - weight.flatten()).abs() / absmax.repeat_interleave(block_size)[: weight.numel()]
    sentence = (
        f"a number of {what} should come back within 0.152 absmax, half the widest gap, but is off by {share.max():.3g}"
    )
    expect(share.max() <= 0.1521, sentence, hint="NF4[code] * absmax of its own block")


def test_64_numbers_are_a_block_unless_told_otherwise(rng):
    """Both ways. The largest numbers stand at the ends of the blocks, where other sizes would take them apart."""
    weight = randn(rng, 3, 64, dtype=torch.float32)
    weight[:, 0], weight[:, 63] = torch.tensor([10.0, 20, 30]), torch.tensor([-11.0, 19, -31])
    want = torch.tensor([11.0, 20, 31])
    codes, absmax = nf4(weight, 64)
    got = quantize_nf4(weight)[1]
    expect_equal(got, want, what="the absmax of quantize_nf4(weight) of 192 numbers", hint="block_size=64")
    with called_for("192 codes and 3 absmax", hint="block_size=64"):
        back = dequantize_nf4(codes, absmax, (3, 64), torch.float32)
    want = from_nf4(codes, absmax, (3, 64), block_size=64)
    expect_equal(back, want, what="dequantize_nf4 without a block_size", hint="block_size=64")


def test_a_block_of_zeros_comes_back_as_zeros():
    """0 / 0 is NaN, and which level is nearest to that is anybody's guess. Its codes are 7, the level 0."""
    weight = torch.tensor([[0.0, 0, -0.0], [1, -2, 0]])
    with UndefinedCasts() as casts:
        codes, absmax = nf4(weight, 3)
    hint = "where absmax is 0, divide by 1"
    expect(casts.count == 0, f"no NaN should be cast to an integer, but {casts.count} were", hint=hint)
    expect_equal(absmax, torch.tensor([0.0, 2]), what="the absmax of a block of zeros and of [1, -2, 0]", hint=hint)
    expect_equal(codes.tolist(), [7, 7, 7, 12, 0, 7], what="the codes of zeros and of [1, -2, 0]", hint=hint)
    got = from_nf4(codes, absmax, (2, 3), block_size=3)
    expect_equal(got[0].abs(), torch.zeros(3), what="a block of zeros, quantised and back", hint=hint)


def test_nf4_in_any_memory_layout(rng):
    """Row by row is not as it lies in memory: a transpose has other blocks than its source."""
    weight = randn(rng, 6, 8, dtype=torch.float32)
    for name, other in {"a transpose": weight.mT, "a slice": torch.cat([weight, weight], 1)[:, 3:9]}.items():
        with called_for(f"{name} of a weight", hint="reshape(-1), not view(-1)"):
            expect_nf4(other, 4, name)
    with called_for("a Parameter", hint="detach what comes from a Parameter"):
        expect_nf4(torch.nn.Parameter(weight), 4, "a Parameter")


def test_blocks_hold_one_number_at_least(rng):
    """A block of one is its sign and its size: nothing is lost. A block of none is an error."""
    weight = randn(rng, 3, 4, dtype=torch.float32)
    got = from_nf4(*nf4(weight, 1), (3, 4), block_size=1)
    expect_close(got, weight, what="blocks of 1, quantised and back", hint="1 and -1 are levels")
    for wrong in (0, -4):
        with expect_raises(ValueError, what=f"quantize_nf4 with block_size={wrong}", hint="block_size >= 1"):
            quantize_nf4(weight, wrong)


@EVERY
@pytest.mark.parametrize("size", [1.0, 2.0**-13, 2.0**12], ids=["around 1", "small", "large"])
def test_every_floating_dtype_is_quantised_in_float32(rng, dtype, size):
    """In float16 a range of 1e-6 has a scale of 0, and in bfloat16 w / scale is off by up to 1/16 of a step."""
    weight = (size * randn(rng, 4, 12)).to(dtype)
    what = f"a {dtype} weight, times {size:g}"
    with called_for(what, hint=WIDE):
        expect_groups(weight, 6, what)
        expect_nf4((size * randn(rng, 16, 48)).to(dtype), 48, what)


@EVERY
def test_the_largest_and_the_smallest_numbers(dtype):
    """From -65504 to 65504 is more than float16 holds. 2^-24 is its smallest number, and has a scale in float32. Where
    float32 ends, a group may count as zeros, but turns into nothing else."""
    most = min(torch.finfo(dtype).max, 2.0**126)
    least = 2.0**-24 if dtype == torch.float16 else 2.0**-118
    for size in (most, least):
        weight = torch.tensor([[1.0, -1, 0, 0.75], [1, 0.25, 0, 0.5]], dtype=torch.float64).mul(size).to(dtype)
        what = f"{size:g} * [[1, -1, 0, 0.75], [1, 0.25, 0, 0.5]] in {dtype}"
        expect_groups(weight, 4, what)
        expect_nf4(weight, 4, what)
    for size in (1e-38, 1e-41, 3e-45, 1e-300):
        weight = torch.tensor([[1.0, -1, 0, 0.5]], dtype=torch.float64).mul(size).to(dtype)
        what = f"{size:g} * [1, -1, 0, 0.5] in {dtype}"
        with UndefinedCasts() as casts:
            backs = dequantized(*grouped(weight, 4), torch.float64), from_nf4(*nf4(weight, 4), (1, 4), torch.float64)
        expect(casts.count == 0, f"nothing that is not finite should be cast to an integer for {what}", hint=WIDE)
        for name, back in zip(("groups", "NF4"), backs, strict=True):
            hint = "a scale of 0 divides by zero: look at the scale as float32 has it"
            sentence = f"{name} of {what} should come back within 2e-37, but came back as {back.tolist()}"
            expect((back - weight.double()).abs().max() <= 2e-37, sentence, hint=hint)


def expect_nearest(got, exact, dtype, what, lost):
    """Off by half a step of dtype at most, but for what float32 and the table have lost."""
    info = torch.finfo(dtype)
    step = info.eps * 2.0 ** exact.abs().clamp(min=info.smallest_normal).log2().floor()
    off = (((got.double() - exact).abs() - lost * exact.abs()) / step).max()
    sentence = f"{what} should be off by half a step of {dtype} at most, but is off by {off:.3g} steps"
    expect(off <= 0.501, sentence, hint="multiply in float32, then .to(dtype)")


@EVERY
def test_both_ways_back_give_every_dtype(rng, dtype):
    """The product is made in float32 and rounded once. In float16 a scale of 3e-8 is twice as much, and one of 1e-9 is 0;
    in bfloat16 1.0035 is 1."""
    scales = torch.tensor([0.3, 3e-8, 1e-9, 1.0035])
    codes = torch.arange(16).to(torch.uint8).repeat(4)
    zeros = randint(rng, 0, 16, 4).to(torch.uint8)
    exact = (codes.reshape(4, 16).double() - zeros.double()[:, None]) * scales.double()[:, None]
    got = dequantized(codes.reshape(1, 64), scales[None], zeros[None], dtype).reshape(4, 16)
    expect_nearest(got, exact, dtype, f"dequantize_groups to {dtype}, for scales of 0.3, 3e-8, 1e-9 and 1.0035,", 4e-7)
    got = from_nf4(codes, scales, (4, 16), dtype, 16)
    exact = levels() * scales.double()[:, None]
    expect_nearest(got, exact, dtype, f"dequantize_nf4 to {dtype}, for absmax of 0.3, 3e-8, 1e-9 and 1.0035,", 2e-6)
