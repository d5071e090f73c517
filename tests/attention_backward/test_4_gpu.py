"""Stage 4. On a GPU: everything stays there, and bfloat16 gradients are as exact as on the CPU."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, randn, roundings
from dojo.testing.attention import some_mask

from .helpers import gradients, qkv, torch_attention


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Masks, maxima and sums are made where the inputs are. Tolerance: 8 roundings of the largest number."""
    q, k, v = (x.bfloat16() for x in qkv(rng, 2, 4, queries=256, keys=192, dim=64, value_dim=64))
    mask, grad = some_mask(rng, 256, 192), randn(rng, 2, 4, 256, 64).bfloat16()
    got = gradients(*(x.cuda() for x in (grad, q, k, v, mask)))
    _, want = torch_attention(q, k, v, mask, grad)
    for (name, one), other in zip(got.items(), want, strict=True):
        expect_equal(one.device.type, "cuda", what=f"the device of {name}", hint="new tensors on the device of q")
        close = roundings(8, torch.bfloat16, other)
        expect_close(one.cpu().double(), other, what=f"{name} in bfloat16 on the GPU, beside float64", **close)
