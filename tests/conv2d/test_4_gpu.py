"""Stage 4. On a GPU: the same results, on the device of the inputs."""

import pytest
import torch

from dojo.testing import HALVES, expect_close, expect_equal, roundings
from katas.conv2d import conv2d

from .helpers import gradients, integers


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_both_passes_on_the_gpu(rng, dtype):
    """Small integers, so that no product is rounded, whatever precision the GPU multiplies with."""
    x, weight, bias = (integers(rng, *shape, largest=2).to(dtype) for shape in ((3, 4, 7, 6), (5, 4, 3, 2), (5,)))
    want, got = conv2d(x, weight, bias, 2, 1), conv2d(x.cuda(), weight.cuda(), bias.cuda(), 2, 1)
    expect_equal(got.device.type, "cuda", what="the device of the result")
    expect_close(got.cpu(), want, what=f"conv2d on the GPU in {dtype}", **roundings(2, dtype, want))
    grad = integers(rng, *want.shape, largest=1).to(dtype)
    wanted = gradients(grad, x, weight, 2, 1)
    for name, got in gradients(grad.cuda(), x.cuda(), weight.cuda(), 2, 1).items():
        expect_equal(got.device.type, "cuda", what=f"the device of {name}")
        expect_close(got.cpu(), wanted[name], what=f"{name} on the GPU in {dtype}", **roundings(2, dtype, wanted[name]))
