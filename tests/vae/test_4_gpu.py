"""Stage 4. On a GPU: everything is made where the latents are."""

import pytest

from dojo.testing import expect_close, expect_equal, randn
from katas.vae import gaussian_nll, kl_to_standard_normal, negative_elbo, reparameterize


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """The noise, too, is drawn on the device of the mean."""
    given = randn(rng, 4, 3, 5).float()
    on_gpu = given.cuda()
    expect_equal(reparameterize(*on_gpu[2:]).device.type, "cuda", what="the device of a sample")
    for function, part in ((kl_to_standard_normal, 2), (gaussian_nll, 2), (negative_elbo, 4)):
        got, want = function(*on_gpu[:part]), function(*given[:part])
        expect_equal(got.device.type, "cuda", what=f"the device of {function.__name__}")
        expect_close(got.cpu(), want, what=f"{function.__name__} on the GPU", rtol=1e-5, atol=1e-5)
