"""Stage 3. Dtypes, devices, gradients."""

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, backward, expect, expect_close, expect_equal, randn, roundings
from dojo.testing.modules import fill
from katas.lora_linear import LoRALinear

from .helpers import trained, vectors


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """The adapter takes the base's dtype, and merging keeps it. Tolerance: 16 roundings of the largest number."""
    layer, x, exact = trained(rng, dtype=dtype), randn(rng, 4, 5, dtype=dtype), trained(rng).double()
    pair, hint = (layer.lora_A.dtype, layer.lora_B.dtype), "create A and B with the dtype of base.weight"
    expect_equal(pair, (dtype, dtype), what="the pair of dtypes of lora_A and lora_B", hint=hint)
    exact.load_state_dict(layer.state_dict())  # the same numbers in float64
    want, weight = exact(x.double()).detach().to(dtype), layer.base.weight.detach().clone()
    close = roundings(16, dtype, want)
    expect_close(layer(x), want, what=f"the output in {dtype}", **close)
    layer.merge()
    expect_equal(layer.base.weight.dtype, dtype, what="the merged weight's dtype", hint="write into it in place")
    expect_close(layer(x), want, what=f"the merged output in {dtype}", **close)
    close = roundings(4, dtype, layer.base.weight)
    layer.unmerge()
    expect_close(layer.base.weight, weight, what="base.weight after the round trip", **close)


def test_the_adapter_follows_its_base_to_another_device_or_dtype(rng):
    """A model may be built on another device (here 'meta'), or converted after it was wrapped."""
    layer = LoRALinear(nn.Linear(5, 7, device="meta"), 3, 1.0)
    pair, hint = (layer.lora_A.device.type, layer.lora_B.device.type), "create A and B where base.weight is"
    expect_equal(pair, ("meta", "meta"), what="the pair of devices of lora_A and lora_B", hint=hint)
    layer, x = trained(rng), vectors(rng, 4, 5)
    want = layer(x).double()
    close = roundings(16, torch.float32, want)
    expect_close(layer.double()(x.double()), want, what="the output after layer.double()", hint="nn.Parameter", **close)


@pytest.mark.parametrize("name", ["lora_A", "lora_B", "x"])
def test_gradients_predict_what_a_step_does(rng, name):
    """A loss linear in y is affine in A, in B and in x: a step D changes it by exactly <gradient, D>.
    x matters, too: in a deep network every earlier adapter learns through it."""
    layer, x, direction = trained(rng).double(), randn(rng, 2, 4, 5).requires_grad_(), randn(rng, 2, 4, 7)
    moved = x if name == "x" else getattr(layer, name)
    loss = (layer(x) * direction).sum()
    backward(loss)
    hint = "nothing in the forward may be detached or under no_grad, the frozen base included"
    expect(moved.grad is not None, f"{name} should get a gradient, but its .grad is None", hint=hint)
    step = randn(rng, *moved.shape)
    fill(moved, moved.detach() + step)
    change = (layer(x) * direction).sum() - loss
    expect_close((moved.grad * step).sum(), change, what=f"<dL/d{name}, step>", hint=hint)


def test_a_gradient_passes_through_a_merged_layer(rng):
    """Evaluation may still need dL/dx (saliency, guidance): merged or not, it is the same."""
    layer, direction = trained(rng).double(), randn(rng, 4, 7)
    x, again = randn(rng, 4, 5).requires_grad_(), randn(rng, 4, 5).requires_grad_()  # dL/dx does not depend on x
    backward((layer(x) * direction).sum())
    layer.merge()
    hint = "no torch.no_grad() around the base, and no detach(), in the merged forward either"
    backward((layer(again) * direction).sum(), what="the merged output", hint=hint)
    expect_close(again.grad, x.grad, what="dL/dx of the merged layer", hint=hint)
