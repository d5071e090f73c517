"""Stage 4. On a GPU: everything stays where the images are."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from katas.ddpm import p_sample_loop, q_sample

STEPS, IMAGES = 1000, (16, 3, 64, 64)
BETAS = torch.linspace(1e-4, 0.02, STEPS)
ABAR = (1 - BETAS.double()).cumprod(0).float()


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Noise, masks and timesteps are made where the images are, and the generator there is the one that counts."""
    x, noise = (torch.randn(IMAGES, generator=rng) for _ in range(2))
    t = torch.randint(STEPS, IMAGES[:1], generator=rng)
    got = q_sample(*(tensor.cuda() for tensor in (x, t, noise, ABAR)))
    expect_close(got.cpu(), q_sample(x, t, noise, ABAR), what="q_sample on the GPU")
    expect_equal(got.device.type, "cuda", what="the device of q_sample's result")
    seen = []

    def model(x, t):
        seen.extend([x.device.type, t.device.type])
        return 0.1 * x

    def samples():
        generator = torch.Generator("cuda").manual_seed(1)
        return p_sample_loop(model, IMAGES, BETAS[:5].cuda(), generator=generator)

    first = samples()
    expect_equal({*seen, first.device.type}, {"cuda"}, what="the devices of the loop's x, t and samples")
    expect_equal(samples(), first, what="the samples of an equally seeded CUDA generator")
