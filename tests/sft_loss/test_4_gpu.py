"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from katas.sft_loss import build_labels, causal_lm_loss

from .helpers import FIELDS, examples, labelled, masks, packed, table


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Masks, divisors, positions and segments are made where the tokens are. num_items may be on the CPU."""
    tokens, mask, prompts = table((5, 6, 7, 8), (9, 5, 6, 9)), masks((1, 1, 1, 0), (0, 1, 1, 1)), torch.tensor([1, 2])
    got = build_labels(tokens.cuda(), mask.cuda(), prompts.cuda())
    expect_equal(got.device.type, "cuda", what="the device of the labels")
    expect_equal(got.cpu(), build_labels(tokens, mask, prompts), what="the labels on the GPU")
    logits, labels = labelled(rng, 3, 40, 300, dtype=torch.float32)
    for items in (None, 50, torch.tensor(50)):
        got, want = (
            causal_lm_loss(z, t, num_items=items) for z, t in ((logits.cuda(), labels.cuda()), (logits, labels))
        )
        expect_equal(got.device.type, "cuda", what=f"the device of the loss with num_items={items}")
        what = f"the loss on the GPU with num_items={items}"
        expect_close(got.cpu(), want, what=what, rtol=1e-5, atol=1e-5)
    tokens, labels = examples(3, 2, 4)
    rows = packed([t.cuda() for t in tokens], [t.cuda() for t in labels], 6)
    for got, want in zip(rows, packed(tokens, labels, 6), strict=True):
        for field in FIELDS:
            expect_equal(getattr(got, field).device.type, "cuda", what=f"the device of {field} of a row")
            expect_equal(getattr(got, field).cpu(), getattr(want, field), what=f"{field} of a row on the GPU")
