"""Stage 4. Bytes: what the layer holds, and what a forward moves. No loop over rows."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_flat_operators, expect_traffic, randn
from dojo.testing.modules import bytes_held
from katas.int8_linear import quantize_per_row

from .helpers import BOTH, IDS, from_linear

EACH = pytest.mark.parametrize("dynamic", BOTH, ids=IDS)
INPUTS, OUTPUTS = 1024, 512
WEIGHT = INPUTS * OUTPUTS  # bytes of the codes


def layer_of(dynamic, dtype=torch.float32):
    return from_linear(nn.Linear(INPUTS, OUTPUTS, dtype=dtype), dynamic)


@EACH
def test_the_layer_holds_its_buffers_and_nothing_else(rng, dynamic):
    """in * out + 4 * out bytes, and the bias: a quarter of float32. A float copy beside it, kept from the beginning or
    from the first call, makes it more than before."""
    layer = layer_of(dynamic)
    want = WEIGHT + 4 * OUTPUTS + 4 * OUTPUTS
    for when in ("at first", "after a call"):
        size, hint = bytes_held(layer), "no float weight, no source layer, nothing kept between two calls"
        sentence = f"a layer from 1024 to 512 should hold {want} bytes {when}, but holds {size}"
        expect(size == want, sentence, hint=hint)
        layer(randn(rng, 1, INPUTS, dtype=torch.float32))


def test_a_dynamic_forward_reads_the_codes_once(rng, cost):
    """At 4 tokens the codes are what is moved: int8 as they are. A cast to int32, float32 or float64 reads them, writes
    four or eight times as much, and reads that again."""
    layer, x = layer_of(dynamic=True), randn(rng, 4, INPUTS, dtype=torch.float32)
    with cost() as spent:
        layer(x)
    hint = "torch._int_mm(a, b.T) multiplies int8 without a cast"
    expect_traffic(spent, layer.codes, 2.5, what="a dynamic forward of 4 tokens", of="the codes", hint=hint)
    sentence = f"a dynamic forward should make no tensor of the weight's size, but made one of {spent.largest} elements"
    expect(spent.largest < WEIGHT // 4, sentence, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_weight_only_forward_makes_few_copies(rng, cost, dtype):
    """The codes as float32, the product, and that in half precision: 10 bytes a weight, and they live as long as the
    call. float64 on the way takes more."""
    layer, x = layer_of(dynamic=False), randn(rng, 4, INPUTS).to(dtype)
    with cost() as spent:
        layer(x)
    made = spent.allocated / WEIGHT
    sentence = f"a weight-only forward in {dtype} should allocate at most 10 bytes a weight, but took {made:.2f}"
    expect(made <= 10.25, sentence, hint="codes * scales[:, None] is one operator, and gives float32")
    sentence = f"torch operators should do the work, but moved only {spent.bytes} bytes, less than the codes"
    expect(spent.bytes >= WEIGHT, sentence, hint="compute with torch: numpy and Python loops are not counted")


def test_all_rows_are_quantised_at_once(rng):
    """A Python loop launches operators in proportion to the rows."""

    def rows(count):
        return (randn(rng, count, 32, dtype=torch.float32),)

    hint = "amax(1) and a division by scales[:, None] take all rows at once"
    expect_flat_operators(
        quantize_per_row, rows, [4, 64], what="quantize_per_row", hint=hint, slack=2, outside_torch=True
    )
    layer = from_linear(nn.Linear(32, 8), dynamic=True)
    expect_flat_operators(layer, rows, [4, 64], what="a dynamic forward", hint=hint, slack=2, outside_torch=True)
