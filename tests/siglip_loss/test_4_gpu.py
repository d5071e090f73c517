"""Stage 4. On a GPU: the same answers, on the device of the inputs, and memory is saved there."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal
from katas.siglip_loss import match_probabilities, siglip_loss_blocks

from .helpers import both_losses, features


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Labels and results are made where the features are."""
    images, texts = features(rng, 40, 32, torch.float32)
    for name, loss in (*both_losses(16), ("match_probabilities", match_probabilities)):
        got, want = loss(images.cuda(), texts.cuda(), 5.0, -3.0), loss(images, texts, 5.0, -3.0)
        expect_equal(got.device.type, "cuda", what=f"the device of {name}")
        expect_close(got.cpu(), want, what=f"{name} on the GPU", rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_blocks_save_memory_on_the_gpu(rng):
    """4096 pairs: the matrix of logits has 64 MiB in float32, which the whole step must stay below."""
    pair = [each.cuda().requires_grad_() for each in features(rng, 4096, 64, torch.float32)]
    siglip_loss_blocks(*pair, 5.0, -3.0, 4096 // 16).backward()  # makes the gradients, and the workspace of products
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    siglip_loss_blocks(*pair, 5.0, -3.0, 4096 // 16).backward()
    torch.cuda.synchronize()
    spent = (torch.cuda.max_memory_allocated() - before) / 2**20
    sentence = f"a step of 4096 pairs in blocks of 256 should take less than 64 MiB, but takes {spent:.0f}"
    expect(spent < 64, sentence, hint="compute a block's logits again in the backward pass")
