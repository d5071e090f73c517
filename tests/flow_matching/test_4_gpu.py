"""Stage 4. On a GPU: everything is made where the data are."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, randn
from dojo.testing.diffusion import recording
from katas.flow_matching import flow_loss, sample, sample_times

from .helpers import T, line, zeros


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Times, noise and grids are made on the device of the data."""
    x0, noise = randn(rng, 2, 6, 3, dtype=torch.float32)
    want, got = line(x0, noise, T)[0], line(x0.cuda(), noise.cuda(), T.cuda())[0]
    expect_close(got.cpu(), want, what="x_t on the GPU", rtol=1e-5, atol=1e-5)
    expect_equal(sample_times(3, device="cuda").device.type, "cuda", what="the device of sample_times(device=cuda)")
    model, calls = recording(zeros)
    loss = flow_loss(model, x0.cuda())
    x, t = calls[0]
    devices = [each.device.type for each in (loss, x, t)]
    expect_equal(devices, ["cuda"] * 3, what="the devices of the loss, of x_t and of t")
    for method in ("euler", "heun"):
        want, got = (sample(lambda x, t: t[:, None] * x, z, 3, method=method, shift=3.0) for z in (noise, noise.cuda()))
        expect_equal(got.device.type, "cuda", what=f"the device of the samples of {method}")
        expect_close(got.cpu(), want, what=f"the samples of {method} on the GPU", rtol=1e-5, atol=1e-5)
