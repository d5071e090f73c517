"""Stage 3. Numerics, dtypes, gradients."""

import pytest
import torch

from dojo.testing import FLOATS, backward, expect, expect_close, expect_gradients, randn, roundings
from dojo.testing.attention import expect_finite_gradients, some_mask
from katas.cross_attention import CrossAttention

from .helpers import attention, revealing


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """With a mask that leaves one query nothing. Tolerance: 30 roundings of the largest number on the way."""
    exact, x, context = attention(rng), randn(rng, 2, 4, 5, dtype=dtype) / 4, randn(rng, 2, 6, 7, dtype=dtype) / 4
    mask = some_mask(rng, 2, 4, 6)
    mask[0, 1] = False
    layer = CrossAttention(5, 7, 2, 3).to(dtype)
    layer.load_state_dict(exact.state_dict())
    exact.load_state_dict(layer.state_dict())  # the same numbers in float64
    size = exact.to_v(context.double()).abs().max() * exact.to_out.weight.abs().sum(1).max()
    close = roundings(30, dtype, size)
    for given in (None, mask):
        want = exact(x.double(), context.double(), given).to(dtype)
        what = f"the output in {dtype}, {'with' if given is not None else 'without'} a mask"
        expect_close(layer(x, context, given), want, what=what, hint="use a mask value that the dtype has", **close)


def test_huge_logits_stay_finite(rng):
    """exp(1e5) overflows in any dtype; a softmax that subtracts the maximum does not mind."""
    layer, context = revealing(rng)
    x, content = 1e3 * randn(rng, 2, 3, 4).float(), 1e2 * randn(rng, 2, 4, 6).float()
    weights = layer.float()(x, context(content))
    expect(weights.isfinite().all(), "weights from logits around 1e5 should be finite, but some are not")
    ones = torch.ones(2, 3)
    expect_close(weights.sum(-1), ones, what="each query's sum of weights, for logits around 1e5", hint="torch.softmax")


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_gradients_are_those_of_the_function(rng, masked):
    """Finite differences in float64, for x, for the context and for to_q's weight; one query attends to nothing."""
    layer, x, context = attention(rng, 3, 2, 2, 2), randn(rng, 2, 3, 3) / 2, randn(rng, 2, 4, 2) / 2
    mask = some_mask(rng, 2, 3, 4)
    mask[1, 1] = False

    def forward(x, context, weight):
        weights = dict(layer.named_parameters()) | {"to_q.weight": weight}
        return torch.func.functional_call(layer, weights, (x, context, mask if masked else None))

    expect_gradients(forward, (x, context, layer.to_q.weight), hint="detach nothing, keep NaN out")


def test_nothing_to_attend_means_finite_gradients(rng):
    """Behind an additive mask of -inf, nan_to_num after the softmax repairs the output and leaves NaN in the gradients:
    the softmax's derivative multiplies a zero with the NaN. One empty prompt then spoils all weights."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5).requires_grad_(), randn(rng, 2, 6, 7).requires_grad_()
    mask = torch.ones(2, 6).bool()
    mask[1] = False
    backward(layer(x, context, mask).square().sum())
    hint = "keep the empty rows' NaN from arising: give them something to attend, then zero their answers"
    expect_finite_gradients({"x": x, "context": context, **dict(layer.named_parameters())}, hint=hint)
    for name, leaf in (("x", x), ("context", context)):
        want, what = torch.zeros_like(leaf[1]), f"the gradient of {name} in the sample with nothing to attend"
        expect_close(leaf.grad[1], want, what=what, hint="its answer is constant")
