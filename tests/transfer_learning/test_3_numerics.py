"""Stage 3. Dtypes, devices, gradients."""

import pytest
import torch

from dojo.testing import HALVES, backward, expect_close, expect_equal, randn
from katas.transfer_learning import freeze, replace_head

from .helpers import Net


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_the_new_head_has_the_models_dtype(dtype):
    """nn.Linear is float32 unless told otherwise, and the first forward pass raises."""
    new = replace_head(Net().to(dtype), 4)
    for name, parameter in new.named_parameters():
        expect_equal(parameter.dtype, dtype, what=f"the dtype of the new {name}", hint="dtype=old.weight.dtype")


def test_the_new_head_is_on_the_models_device():
    """On the meta device, which every machine has."""
    new = replace_head(Net().to("meta"), 4)
    for name, parameter in new.named_parameters():
        expect_equal(parameter.device.type, "meta", what=f"the new {name}'s device", hint="device=old.weight.device")


def test_gradients_flow_through_what_is_frozen(rng):
    """A prompt or an adapter before a frozen network trains through it: no torch.no_grad() around its forward."""
    model = Net().double().eval()
    x = randn(rng, 8, 4).requires_grad_()
    (wanted,) = torch.autograd.grad(model(x).square().sum(), x)
    freeze(model)
    out = model.train()(x)
    backward(out.square().sum(), hint="freeze parameters, not the pass")
    expect_close(x.grad, wanted, what="the gradient through a frozen model", hint="that of the model in eval mode")
