"""Stage 1. The loss, both directions."""

import math

import pytest
import torch

from dojo.testing import expect_close, randn
from katas.clip_loss import clip_loss

from .helpers import number, orthonormal


def lengths(rng, batch):
    """From 1/30 to 30, one for each row."""
    return 30 ** (2 * torch.rand(batch, 1, generator=rng, dtype=torch.float64) - 1)


def test_a_worked_example():
    """Two orthogonal pairs at scale ln 3: the logits are ln 3 on the diagonal and 0 elsewhere, so every image gives
    its text 3/4 and every text its image 3/4. The loss is ln(4/3), whatever the vectors' lengths are."""
    images = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    expect_close(
        clip_loss(images, texts, math.log(3)),
        number(math.log(4 / 3)),
        what="clip_loss([[3, 0], [0, 2]], [[1, 0], [0, 5]], ln 3)",
        hint="unit length first, times the scale itself (not its exp), cross-entropy against the diagonal, then the mean",
    )


def test_both_directions_count_half():
    """Two images, two equal texts, at scale ln 3. Each image has two equal logits: ln 2. The texts both prefer the
    first image, 3 : 1, which is right for one: ln(4/3), and wrong for the other: ln 4."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    want = (math.log(2) + (math.log(4 / 3) + math.log(4)) / 2) / 2
    hint = "the mean of cross_entropy(logits, diagonal) and cross_entropy(logits.T, diagonal)"
    what = "clip_loss of images (x, y) and texts (x, x) at scale ln 3"
    expect_close(clip_loss(images, texts, math.log(3)), number(want), what=what, hint=hint)
    what = "clip_loss of images (x, x) and texts (x, y) at scale ln 3"
    expect_close(clip_loss(texts, images, math.log(3)), number(want), what=what, hint=hint)


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_the_loss_of_orthogonal_pairs(rng, batch):
    """One logit s against batch - 1 zeros: ln(1 + (batch - 1) exp(-s)). A sum over the batch or over the directions,
    a denominator without the positive, or a division by the scale give something else."""
    features, scale = orthonormal(rng, batch, 20), 2.5
    want = number(math.log1p((batch - 1) * math.exp(-scale)))
    hint = "the mean over the batch and over both directions, and the positive stands in the denominator, too"
    expect_close(clip_loss(features, features, scale), want, what=f"the loss of {batch} orthogonal pairs", hint=hint)


def test_the_lengths_of_the_features_do_not_matter(rng):
    """The logits are cosines: a caption must not win because its vector is long. Each row has a length of its own."""
    images, texts = randn(rng, 5, 8), randn(rng, 5, 8)
    want = clip_loss(images, texts, 10.0)
    for name, pair in {
        "images": (images * lengths(rng, 5), texts),
        "texts": (images, texts * lengths(rng, 5)),
    }.items():
        hint = "divide each row by its Euclidean length: F.normalize(features, dim=-1), for images and for texts"
        expect_close(clip_loss(*pair, 10.0), want, what=f"the loss with {name} of other lengths", hint=hint)


def test_pairs_belong_together_by_their_place_in_the_batch(rng):
    """Shuffling the pairs changes nothing; shuffling the captions alone makes every label wrong."""
    features, order = orthonormal(rng, 6, 9), torch.tensor([4, 0, 3, 5, 2, 1])
    want = clip_loss(features, features, 5.0)
    got = clip_loss(features[order], features[order], 5.0)
    expect_close(got, want, what="the loss of the same pairs in another order", hint="the labels are 0, 1, 2, ...")
    got = clip_loss(features, features[order], 5.0)
    want = number(5.0 + math.log1p(5 * math.exp(-5.0)))  # s more, because the true pair's logit is 0
    expect_close(got, want, what="the loss of captions that are all mixed up", hint="the labels are 0, 1, 2, ...")
