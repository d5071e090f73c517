"""Stage 1. The loss, and the probabilities."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, numbers, randn
from katas.siglip_loss import match_probabilities, siglip_loss

from .helpers import features, number, orthonormal, softplus, strangers

IMAGES = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 5.0]], dtype=torch.float64)


def test_a_worked_example():
    """Two orthogonal pairs with s = ln 12 and b = -ln 3. A match has the logit ln 4, probability 4/5, and loses ln(5/4);
    another pair has -ln 3, is no match with probability 3/4, and loses ln(4/3). Two of each, divided by n = 2:
    ln(5/4) + ln(4/3) = ln(5/3)."""
    expect_close(
        siglip_loss(IMAGES, TEXTS, math.log(12), -math.log(3)),
        number(math.log(5 / 3)),
        what="siglip_loss([[3, 0], [0, 2]], [[1, 0], [0, 5]], ln 12, -ln 3)",
        hint="unit length first; the scale itself (not its exp) times the cosine, plus the bias; the sum over n n pairs, / n",
    )


@pytest.mark.parametrize("bias", [-10.0, 1.5])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_the_loss_of_strangers(rng, n, bias):
    """All similarities are 0, so that all logits are the bias, whatever the scale is. Each image has one match, which
    loses softplus(-b), and n - 1 others, which lose softplus(b): 10.00027 for n = 6, b = -10."""
    want = number(softplus(-bias) + (n - 1) * softplus(bias))
    hint = "the sum over all n n pairs, divided by n; the bias is added, and the scale does not multiply it"
    got = siglip_loss(*strangers(rng, n), 7.0, bias)
    expect_close(got, want, what=f"the loss of {n} pairs that are all orthogonal, with bias {bias:g}", hint=hint)


@pytest.mark.parametrize("n", [2, 5])
def test_matches_and_others_have_opposite_labels(rng, n):
    """Orthogonal pairs: a match has the logit s + b, all others b."""
    rows, scale, bias = orthonormal(rng, n, 8), 2.5, -1.0
    want = number(softplus(-(scale + bias)) + (n - 1) * softplus(bias))
    hint = "label 1 on the diagonal and -1 (not 0) elsewhere; the label multiplies the whole logit"
    expect_close(siglip_loss(rows, rows, scale, bias), want, what=f"the loss of {n} orthogonal pairs", hint=hint)
    got = siglip_loss(rows, rows, -scale, bias)
    want = number(softplus(scale - bias) + (n - 1) * softplus(bias))
    expect_close(got, want, what=f"the loss of {n} orthogonal pairs at a negative scale", hint="clamp nothing")


def test_pairs_belong_together_by_their_place(rng):
    """Shuffling the pairs changes nothing. With the captions alone moved on by one, each match has the logit b, and one
    other in each row has s + b."""
    rows, order, scale, bias = orthonormal(rng, 6, 9), torch.tensor([4, 0, 3, 5, 2, 1]), 5.0, -2.0
    want, hint = siglip_loss(rows, rows, scale, bias), "the matches are on the diagonal"
    got = siglip_loss(rows[order], rows[order], scale, bias)
    expect_close(got, want, what="the loss of the same pairs in another order", hint=hint)
    got = siglip_loss(rows, rows.roll(1, 0), scale, bias)
    want = number(softplus(-bias) + softplus(scale + bias) + 4 * softplus(bias))
    expect_close(got, want, what="the loss of captions that are all moved on by one", hint=hint)


def test_each_pair_is_a_question_of_its_own(rng):
    """What another caption for image 3 changes does not depend on the captions of the other images. In a softmax they
    share a denominator."""
    (images, texts), others, new = features(rng, 4, 6), randn(rng, 3, 6), randn(rng, 1, 6)
    changes = []
    for rest in (texts[:3], others):
        one, two = (siglip_loss(images, torch.cat([rest, last]), 3.0, -1.0) for last in (texts[3:], new))
        changes.append(4 * (two - one))
    hint = "a sigmoid for each pair: no softmax, and no mean over what is there"
    expect_close(changes[1], changes[0], what="what a caption changes beside other captions", hint=hint)


def test_the_lengths_of_features_do_not_matter(rng):
    """Logits are cosines. Each row has a length of its own, from 1/30 to 30."""
    images, texts = features(rng, 5, 8)
    one, two = 30 ** (2 * torch.rand(2, 5, 1, generator=rng, dtype=torch.float64) - 1)
    want, probs = siglip_loss(images, texts, 4.0, -2.0), match_probabilities(images, texts, 4.0, -2.0)
    hint = "divide each row by its Euclidean length: F.normalize(features, dim=-1), for images and for texts"
    for name, pair in {"images": (images * one, texts), "texts": (images, texts * two)}.items():
        expect_close(siglip_loss(*pair, 4.0, -2.0), want, what=f"the loss with {name} of other lengths", hint=hint)
        got = match_probabilities(*pair, 4.0, -2.0)
        expect_close(got, probs, what=f"the probabilities with {name} of other lengths", hint=hint)


def test_worked_probabilities():
    """Two images and three texts, the last one as near to one image as to the other."""
    texts = torch.cat([TEXTS, torch.tensor([[2.0, 2.0]], dtype=torch.float64)])
    between = 1 / (1 + 3 * 12 ** -math.sqrt(0.5))  # the cosine is sqrt(1/2)
    want = torch.tensor([[4 / 5, 1 / 4, between], [1 / 4, 4 / 5, between]], dtype=torch.float64)
    got = match_probabilities(IMAGES, texts, math.log(12), -math.log(3))
    what = "match_probabilities([[3, 0], [0, 2]], [[1, 0], [0, 5], [2, 2]], ln 12, -ln 3)"
    hint = "sigmoid of the logit, a row for each image; nothing is normalised over a row or a column"
    expect_close(got, want, what=what, hint=hint)


def test_probabilities_need_not_sum_to_1(rng):
    """An image may match both of two equal texts, or none at all: a softmax would give 1/2 twice."""
    images = orthonormal(rng, 2, 5)
    got = match_probabilities(images[:1], images[:1].expand(2, -1), 4.0, -1.0)
    expect(isinstance(got, torch.Tensor), f"the probabilities should be a tensor, not a {type(got).__name__}")
    right = 1 / (1 + math.exp(-3))
    hint = "a sigmoid for each pair, no softmax"
    expect_close(got, numbers(right, right)[None], what="the probabilities of two texts that both match", hint=hint)
    got = match_probabilities(images[:1], images[1:], 4.0, -1.0)
    want = numbers(1 / (1 + math.e))[None]
    expect_close(got, want, what="the probability of a single text that does not match", hint=hint)
