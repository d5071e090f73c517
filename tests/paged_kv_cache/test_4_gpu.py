"""Stage 4. On a GPU: everything stays where the pool is."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from katas.paged_kv_cache import PagedKVCache


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Tables are lists on the host; what is indexed with them is made on the pool's device."""
    answers = []
    k, v, q = (torch.randn(2, n, 4, generator=rng) for n in (9, 9, 2))
    for device in ("cuda", "cpu"):
        cache = PagedKVCache(8, 4, 2, 4, device=device)
        cache.create("a")
        cache.append("a", *(part[:, :6].to(device) for part in (k, v)))
        cache.fork("a", "b")
        cache.append("b", *(part[:, 6:].to(device) for part in (k, v)))
        answers.append(cache.attend(["a", "b"], q.to(device)))
    expect_equal(answers[0].device.type, "cuda", what="the device of the answers of a pool on the GPU")
    # Its products may use TF32.
    expect_close(answers[0].cpu(), answers[1], what="attend on the GPU", rtol=1e-3, atol=1e-4)
