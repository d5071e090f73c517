"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal
from katas.grouped_query_attention import grouped_attention, pool_kv_heads

from .helpers import qkv


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """The triangle is made on the device of q."""
    tensors = [t.float() for t in qkv(rng)]
    for causal in (False, True):
        got = grouped_attention(*(t.cuda() for t in tensors), causal=causal)
        expect_equal(got.device.type, "cuda", what=f"the device of the answers (causal={causal})")
        want = grouped_attention(*tensors, causal=causal)
        what = f"attention on the GPU, causal={causal}"
        expect_close(got.cpu(), want, what=what, rtol=1e-3, atol=1e-4)  # its products may use TF32
    weight = tensors[0].flatten(0, 2)  # [48, 4]
    pooled = pool_kv_heads(weight.cuda(), 6, 3)
    expect_equal(pooled.device.type, "cuda", what="the device of the pooled weight")
    expect_close(pooled.cpu(), pool_kv_heads(weight, 6, 3), what="a weight pooled on the GPU", rtol=1e-6, atol=1e-6)
