"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest
import torch

import katas.ppo
from dojo.testing import expect_close, expect_equal

from .probe import arguments


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Masks, indices, the carry and the results are made where the inputs are."""
    for name, given in arguments(rng).items():
        function, there = getattr(katas.ppo, name), [x.cuda() if isinstance(x, torch.Tensor) else x for x in given]
        got, want = function(*there), function(*given)
        got, want = ([*x] if isinstance(x, tuple | list) else [x] for x in (got, want))
        for a, b in zip(got, want, strict=True):
            expect_equal(a.device.type, "cuda", what=f"the device of what {name} returns")
            expect_close(a.cpu(), b, what=f"{name} on the GPU", rtol=1e-6, atol=1e-6)
