"""Stage 4. On a GPU: everything stays where the labels and the tokens are."""

import pytest

from dojo.testing import expect_close, expect_equal
from katas.attention_masks import document_mask, document_positions, window_attention

from .helpers import packed, qkv


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Places, triangles and masks of blocks are made on the device of what was given."""
    documents, _ = packed(rng, 3)
    mask, positions = document_mask(documents.cuda()), document_positions(documents.cuda())
    expect_equal(mask.device.type, "cuda", what="the device of document_mask")
    expect_equal(mask.cpu(), document_mask(documents), what="document_mask on the GPU")
    expect_equal(positions.device.type, "cuda", what="the device of document_positions")
    real = documents >= 0
    expect_equal(positions.cpu()[real], document_positions(documents)[real], what="document_positions on the GPU")
    given = [t.float() for t in qkv(rng, 2, 10, 8)]
    found = window_attention(*(t.cuda() for t in given), 3)
    expect_equal(found.device.type, "cuda", what="the device of window_attention's answers")
    want = window_attention(*given, 3)
    expect_close(
        found.cpu(), want, what="window_attention on the GPU", rtol=1e-3, atol=1e-4
    )  # its products may use TF32
