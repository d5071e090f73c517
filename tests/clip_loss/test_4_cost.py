"""Stage 4. Cost."""

from dojo.testing import expect, expect_flat_operators, randn
from katas.clip_loss import clip_loss


def test_one_matrix_product_serves_both_directions(rng, cost):
    """texts @ images.T is the transpose of images @ texts.T: computing it again doubles the largest cost."""
    images, texts = randn(rng, 64, 128).float(), randn(rng, 64, 128).float()
    with cost() as spent:
        clip_loss(images, texts, 10.0)
    ratio = spent.flops / (2 * 64 * 64 * 128)
    sentence = f"a matrix product should form the logits, but only {ratio:.2f}x its FLOPs were seen"
    expect(
        ratio > 0.9, sentence, hint="images @ texts.T; broadcasting forms a tensor of [batch, batch, dim] on the way"
    )
    sentence = f"the loss should cost one product of [64, 128] and [128, 64], but cost {ratio:.2f}"
    expect(ratio <= 1.05, sentence, hint="the second direction is a softmax along the other axis of the same logits")


def test_operators_do_not_grow_with_the_batch(rng):
    """CLIP's batch has 32 768 pairs: no loop over them."""
    expect_flat_operators(
        lambda images, texts: clip_loss(images, texts, 10.0),
        lambda pairs: randn(rng, 2, pairs, 8),
        (4, 64),
        what="clip_loss",
        hint="cross_entropy takes all rows at once",
        slack=5,
    )
