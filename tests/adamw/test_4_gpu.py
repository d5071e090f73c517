"""Stage 4. On a GPU: the same steps, with a state on the device of the parameter."""

import pytest
import torch
from torch import nn

from dojo.testing import HALVES, expect_close, expect_equal, randn, roundings
from katas.adamw import AdamW

from .helpers import BOTH, moments, saved, walk


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_steps_on_the_gpu(rng, dtype):
    """Moments are made where the weight is, and come back there from a file that was read to the CPU."""
    start, grads = randn(rng, 3, 4).to(dtype), randn(rng, 4, 3, 4).to(dtype)
    want = walk(nn.Parameter(start.clone()), grads, **BOTH)[-1]
    param = nn.Parameter(start.cuda())
    optimizer = AdamW([param], **BOTH)
    walk(param, grads[:2].cuda(), optimizer)
    resumed = AdamW([param])
    resumed.load_state_dict(saved(optimizer, "cpu"))
    got = walk(param, grads[2:].cuda(), resumed)[-1]
    for each in moments(resumed, param):
        expect_equal(each.device.type, "cuda", what="the device of a moment")
    limits = roundings(4, dtype, want)
    expect_close(got.cpu(), want, what=f"weights after 4 steps on the GPU in {dtype}", **limits)
