"""Stage 4. On a GPU: everything stays where the tokens are."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from dojo.testing.attention import some_mask
from katas.causal_self_attention import CausalSelfAttention, attention

from .helpers import qkv


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """The triangle is made on the device of the tokens; a layer that is moved takes nothing along by itself."""
    tensors, mask = [t.float() for t in qkv(rng, 2, queries=5)], some_mask(rng, 2, 5, 5)
    got = attention(*(t.cuda() for t in tensors), mask.cuda(), causal=True)
    expect_equal(got.device.type, "cuda", what="the device of attention's answers")
    want = attention(*tensors, mask, causal=True)
    expect_close(got.cpu(), want, what="attention on the GPU", rtol=1e-3, atol=1e-4)  # its products may use TF32
    layer, x = CausalSelfAttention(8, 2), torch.randn(2, 5, 8, generator=rng)
    padding = torch.arange(5) >= torch.tensor([[0], [2]])
    want = layer(x, padding)
    got = layer.cuda()(x.cuda(), padding.cuda())
    expect_equal(got.device.type, "cuda", what="the device of the layer's answers")
    what = "the layer's answers on the GPU, at the real tokens"
    expect_close(got.cpu()[padding], want[padding], what=what, rtol=1e-3, atol=1e-4)
