"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, randn
from katas.vit_patches import patchify, resize_positions, unpatchify

from .helpers import embedding


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Patches and pictures are moved exactly; tokens and positions are computed in float32."""
    images = randn(rng, 2, 3, 8, 12, dtype=torch.float32)
    got, want = patchify(images.cuda(), 2), patchify(images, 2)
    expect_equal(got.device.type, "cuda", what="the device of the patches")
    expect_equal(got.cpu(), want, what="the patches on the GPU")
    expect_equal(unpatchify(got, 2, 8, 12).cpu(), images, what="the pictures on the GPU")
    positions = randn(rng, 1, 7, 5, dtype=torch.float32)
    got, want = resize_positions(positions.cuda(), (2, 3), (4, 4)), resize_positions(positions, (2, 3), (4, 4))
    expect_equal(got.device.type, "cuda", what="the device of the positions")
    expect_close(got.cpu(), want, what="the positions on the GPU", rtol=1e-4, atol=1e-4)
    layer = embedding(rng, (8, 8), 2, 3, 5, torch.float32)
    want = layer(images).detach()
    got = layer.cuda()(images.cuda())
    expect_equal(got.device.type, "cuda", what="the device of the tokens")
    expect_close(got.cpu(), want, what="the tokens on the GPU", rtol=1e-2, atol=1e-2)  # tf32 is allowed
