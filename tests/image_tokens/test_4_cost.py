"""Stage 4. Few passes over the embeddings, no loop over tokens."""

import torch

from dojo.testing import expect_flat_operators, expect_traffic
from katas.image_tokens import splice

from .helpers import pictured


def test_few_passes_over_the_embeddings(rng, cost):
    """8 rows of 4096 tokens, 4096 wide, are 268 MB in bfloat16. A one-hot matrix of places and tokens is as large again
    for each 4096 tokens, and its product costs more than a layer of the model."""
    given = pictured(rng, "." * 20 + "a" * 150 + ".." + "b" * 28, "." * 160 + "c" * 40, dim=8, dtype=torch.float32)
    with cost() as spent:
        splice(**given)
    what, hint = "splice", "masked_scatter, index_put or one cat of pieces: no matrix of places and tokens"
    expect_traffic(spent, given["embeddings"], 10, what=what, of="the embeddings", hint=hint)


def test_no_loop_over_tokens(rng):
    """Three pictures in two rows, of few tokens or of many: the same operators."""

    def inputs(size):
        return pictured(rng, "." + "a" * size + "." + "b" * size, "." * size + "c" * size + "..").values()

    def run(embeddings, ids, features, images_per_row, image_id):
        return splice(embeddings, ids, features, images_per_row, image_id)

    hint = "a mask moves all tokens at once; a loop over pictures is fine"
    what = "splice of 3 pictures in 2 rows"
    expect_flat_operators(run, inputs, [3, 12, 40], what=what, hint=hint, slack=2)
