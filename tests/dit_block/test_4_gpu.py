"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal, randn

from .helpers import DIM, random_block, random_final


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """All that is made on the way is made where x is."""
    x, c = randn(rng, 2, 5, DIM).float(), randn(rng, 2, DIM).float()
    for name, module in (("the block", random_block(rng).float()), ("the final layer", random_final(rng).float())):
        want, got = module(x, c), module.cuda()(x.cuda(), c.cuda())
        expect_equal(got.device.type, "cuda", what=f"the device of {name}")
        expect_close(got.cpu(), want, what=f"{name} on the GPU", rtol=1e-3, atol=1e-3)  # products may use TF32
