"""Stage 2. Any batch and width, limits, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.clip_loss import clip_loss

from .helpers import number, orthonormal

SHAPES = [(1, 4), (2, 2), (5, 5), (3, 8), (8, 3), (4, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_and_texts_play_the_same_part(rng, shape):
    """Symmetric in its two arguments, which are left as they are."""
    images, texts = randn(rng, *shape), 3 * randn(rng, *shape)
    with expect_unchanged(images, texts, what="the features"):
        got = clip_loss(images, texts, 4.0)
    expect_equal(list(got.shape), [], what="the loss's shape", hint="one number for the batch")
    hint = "the same steps for rows and for columns"
    expect_close(got, clip_loss(texts, images, 4.0), what="clip_loss(images, texts)", hint=hint)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_encoders_that_know_nothing_lose_log_of_the_batch(rng, shape):
    """All logits equal: chance. The number to expect at the first step of training, and with the scale at 0."""
    batch, dim = shape
    alike = randn(rng, 1, dim).expand(batch, -1)
    want = number(math.log(batch))
    expect_close(clip_loss(alike, alike, 30.0), want, what=f"the loss of {batch} equal pairs", hint="ln(batch)")
    got = clip_loss(randn(rng, *shape), randn(rng, *shape), 0.0)
    expect_close(got, want, what=f"the loss of {batch} pairs at scale 0", hint="s multiplies the cosines")


def test_one_pair_alone_has_nothing_to_learn(rng):
    """Contrast comes from the batch: without negatives the loss is 0, however far apart the pair is."""
    got = clip_loss(randn(rng, 1, 5), randn(rng, 1, 5), 100.0)
    expect_close(got, number(0.0), what="the loss of a batch of one", hint="a softmax over one logit is 1")


def test_the_space_can_be_rotated(rng):
    """Only cosines between an image and a text count, not the axes, and not how alike the images are."""
    images, texts, rotation = randn(rng, 4, 6), randn(rng, 4, 6), orthonormal(rng, 6, 6)
    got, want = clip_loss(images @ rotation, texts @ rotation, 7.0), clip_loss(images, texts, 7.0)
    expect_close(got, want, what="the loss in a rotated space", hint="nothing is centred or scaled along an axis")


def test_the_scale_may_be_a_number_or_a_tensor(rng):
    """It is a learned parameter in training and a constant in evaluation, and the same factor in both."""
    images, texts = randn(rng, 4, 6), randn(rng, 4, 6)
    got = clip_loss(images, texts, torch.tensor(7.0, dtype=torch.float64))
    expect_close(got, clip_loss(images, texts, 7.0), what="the loss with the scale as a 0-d tensor")


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((1, 4), (3, 4)), ((4,), (4,))], ids=str)
def test_features_that_do_not_pair_up_are_an_error(rng, shapes):
    """With unequal batches a row has no partner; the matrix product would not mind, and the labels would be wrong."""
    images, texts = (randn(rng, *shape) for shape in shapes)
    with expect_raises(ValueError, what=f"clip_loss of shapes {shapes[0]} and {shapes[1]}", hint="compare the shapes"):
        clip_loss(images, texts, 1.0)
