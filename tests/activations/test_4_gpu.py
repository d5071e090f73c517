"""Stage 4. On a GPU: the same results, on the device of the arguments."""

import pytest
import torch

from dojo.testing import HALVES, expect_close, expect_equal, randn

from .helpers import NAMES, backward, forward, keeps, label, swiglu, swiglu_backward


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_activations_on_the_gpu(rng, name, dtype):
    """Values and slopes beside those of the CPU, up to two roundings."""
    x, grad = (2 * randn(rng, 40)).to(dtype), randn(rng, 40).to(dtype)
    kept = keeps(name, x)
    pairs = {label(name): (forward(name, x.cuda()), forward(name, x))}
    pairs[label(name, "_backward")] = backward(name, grad.cuda(), kept.cuda()), backward(name, grad, kept)
    for what, (got, want) in pairs.items():
        expect_equal(got.device.type, "cuda", what=f"the device of {what}")
        limits = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(torch.float32).eps}
        expect_close(got.cpu(), want, what=f"{what} on the GPU in {dtype}", **limits)


@pytest.mark.gpu
def test_swiglu_on_the_gpu(rng):
    """The product and its gradients."""
    grad, gate, up = (randn(rng, 40, dtype=torch.float32) for _ in range(3))
    moved = grad.cuda(), gate.cuda(), up.cuda()
    got = swiglu(*moved[1:]), *swiglu_backward(*moved)
    for result, want in zip(got, (swiglu(gate, up), *swiglu_backward(grad, gate, up)), strict=True):
        expect_equal(result.device.type, "cuda", what="the device of swiglu's results")
        expect_close(result.cpu(), want, what="swiglu on the GPU", rtol=1e-6, atol=1e-6)
