"""Stage 2. Blocks of any size, one pair, unequal numbers of images and texts, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.siglip_loss import match_probabilities, siglip_loss, siglip_loss_blocks

from .helpers import both_losses, features, number, orthonormal, softplus, strangers

SHAPES = [(1, 4), (2, 2), (5, 5), (3, 8), (8, 3), (4, 1)]
BLOCKS = [(6, 2), (6, 3), (6, 1), (7, 3), (7, 2), (5, 4), (5, 5), (5, 8), (1, 1), (1, 4)]


@pytest.mark.parametrize(("n", "block"), BLOCKS)
def test_blocks_add_up_to_the_loss(rng, n, block):
    """Orthogonal pairs, where matches have the logit s + b and all others b. A block off the diagonal has no match."""
    rows, scale, bias = orthonormal(rng, n, 8), 3.0, -1.0
    want = number(softplus(-(scale + bias)) + (n - 1) * softplus(bias))
    hint = "each pair once, matches where row and column agree, the last block too, and the total divided by n"
    with called_for(f"n={n}, block={block}"):
        got = siglip_loss_blocks(rows, rows, scale, bias, block)
    expect_close(got, want, what=f"the loss of {n} orthogonal pairs in blocks of {block}", hint=hint)
    images, texts = features(rng, n, 4)
    want = siglip_loss(images, texts, scale, bias)
    got = siglip_loss_blocks(images, texts, scale, bias, block)
    expect_close(got, want, what=f"the loss of {n} pairs in blocks of {block}", hint=hint)


def test_blocks_normalise_and_scale_as_the_loss_does(rng):
    """Lengths of their own, a scale of 0, a positive bias, and strangers, of whom only the bias is seen."""
    images, texts = features(rng, 5, 6)
    lengths = numbers(0.1, 7, 1, 20, 3)[:, None]
    got = siglip_loss_blocks(images * lengths, texts / lengths, 3.0, 0.5, 2)
    want = siglip_loss(images, texts, 3.0, 0.5)
    expect_close(got, want, what="the loss in blocks for features of other lengths", hint="normalise each row")
    want = number(softplus(10.0) + 4 * softplus(-10.0))
    hint = "the bias is added to every logit, once, and nothing multiplies it"
    for name, pair, scale in (("of strangers", strangers(rng, 5), 7.0), ("at scale 0", (images, texts), 0.0)):
        expect_close(siglip_loss_blocks(*pair, scale, -10.0, 2), want, what=f"the loss in blocks {name}", hint=hint)
        expect_close(siglip_loss(*pair, scale, -10.0), want, what=f"the loss {name}", hint=hint)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_and_texts_play_the_same_part(rng, shape):
    """Symmetric in its two arguments, which are left as they are, however they lie in memory."""
    images, texts = randn(rng, *shape), 3 * randn(rng, *shape).T.contiguous().T
    for name, loss in both_losses(2):
        with expect_unchanged(images, texts, what=f"a feature given to {name}"):
            got = loss(images, texts, 4.0, -1.0)
        expect_equal(list(got.shape), [], what=f"the shape of {name}", hint="one number for the batch")
        hint = "the same steps for images and for texts"
        expect_close(got, loss(texts, images, 4.0, -1.0), what=f"{name} of {shape}", hint=hint)
    with expect_unchanged(images, texts, what="a feature given to match_probabilities"):
        got = match_probabilities(images, texts, 4.0, -1.0)
    want = match_probabilities(texts, images, 4.0, -1.0).T
    expect_close(got, want, what="the probabilities with images and texts exchanged, transposed")


def test_the_space_can_be_rotated(rng):
    """Only cosines between an image and a text count, not the axes, and not how alike the images are."""
    (images, texts), rotation = features(rng, 4, 6), orthonormal(rng, 6, 6)
    got, want = siglip_loss(images @ rotation, texts @ rotation, 7.0, -3.0), siglip_loss(images, texts, 7.0, -3.0)
    expect_close(got, want, what="the loss in a rotated space", hint="nothing is centred or scaled along an axis")


def test_scale_and_bias_may_be_numbers_or_tensors(rng):
    """They are learned parameters in training and constants in evaluation, and a parameter is not modified."""
    images, texts = features(rng, 4, 6)
    scale, bias = number(7.0), number(-3.0)
    for name, loss in both_losses(3):
        with expect_unchanged(scale, bias, what="a scale or bias"):
            got = loss(images, texts, scale, bias)
        expect_close(got, loss(images, texts, 7.0, -3.0), what=f"{name} with scale and bias as 0-d tensors")
    with expect_unchanged(scale, bias, what="a scale or bias"):
        got = match_probabilities(images, texts, scale, bias)
    want = match_probabilities(images, texts, 7.0, -3.0)
    expect_close(got, want, what="the probabilities with scale and bias as 0-d tensors")


@pytest.mark.parametrize(("n", "m"), [(3, 5), (5, 3), (1, 4), (4, 1), (1, 1)])
def test_probabilities_of_unequal_numbers(rng, n, m):
    """A row for each image, a column for each text, and each pair alone would have the same probability."""
    images, texts = randn(rng, n, 4), randn(rng, m, 4)
    with called_for(f"{n} images and {m} texts"):
        got = match_probabilities(images, texts, 3.0, -1.0)
    expect_equal(list(got.shape), [n, m], what=f"the shape of the probabilities of {n} images and {m} texts")
    alone = [[match_probabilities(i[None], t[None], 3.0, -1.0).reshape(()) for t in texts] for i in images]
    want = torch.stack([torch.stack(row) for row in alone])
    hint = "no other pair has a say: no softmax, and no division by a sum"
    expect_close(got, want, what=f"the probabilities of {n} images and {m} texts", hint=hint)


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_match_is_no_error(rng, n, m):
    with called_for(
        f"{n} images and {m} texts", hint="raise for features that are not two-dimensional, or of two dims"
    ):
        got = match_probabilities(randn(rng, n, 4), randn(rng, m, 4), 3.0, -1.0)
    expect_equal(got, torch.zeros(n, m).double(), what=f"the probabilities of {n} images and {m} texts")


WRONG = [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((1, 4), (3, 4)), ((3, 4), (1, 4)), ((3, 4), (3, 1)), ((0, 4), (0, 4))]
WRONG += [((4,), (4,)), ((3, 4), (4,)), ((2, 3, 4), (2, 3, 4)), ((3, 4), (4, 3))]


@pytest.mark.parametrize("shapes", WRONG, ids=str)
def test_features_that_do_not_pair_up_are_an_error(rng, shapes):
    """With unequal numbers a row has no match, and the matrix product would not mind."""
    images, texts = (randn(rng, *shape) for shape in shapes)
    for name, loss in both_losses(2):
        with expect_raises(ValueError, what=f"{name} of shapes {shapes[0]} and {shapes[1]}", hint="compare the shapes"):
            loss(images, texts, 1.0, 0.0)


@pytest.mark.parametrize("block", [0, -1, -3])
def test_blocks_have_at_least_one_row(rng, block):
    """range(0, n, -1) is empty, and the loss of nothing would be 0."""
    with expect_raises(ValueError, what=f"siglip_loss_blocks with block={block}", hint="block must be at least 1"):
        siglip_loss_blocks(*features(rng, 3, 4), 1.0, 0.0, block)


@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 5)), ((3, 4), (2, 1)), ((4,), (3, 4)), ((3, 4), (4,)), ((2, 3, 4), (3, 4))]
)
def test_probabilities_need_two_matrices_of_one_dim(rng, shapes):
    images, texts = (randn(rng, *shape) for shape in shapes)
    with expect_raises(ValueError, what=f"match_probabilities of {shapes[0]} and {shapes[1]}", hint="compare the dims"):
        match_probabilities(images, texts, 1.0, 0.0)
