"""The checks that the tests of attention share."""

import pytest
import torch

from dojo.testing import Wrong, randn, seeded
from dojo.testing.attention import expect_finite_gradients, expect_softmax, some_mask


def test_a_random_mask_has_a_key_in_each_row():
    """Of several shapes, in both values, and equal for equal seeds."""
    for shape in ((7,), (5, 1), (40, 3, 2)):
        mask = some_mask(seeded(0), *shape)
        assert (mask.dtype, mask.shape) == (torch.bool, shape)
        assert mask.any(-1).all()
        assert torch.equal(mask, some_mask(seeded(0), *shape))
    assert not mask.all()


def test_a_softmax_is_known_by_its_sums_and_log_odds():
    """Another temperature, another axis and a narrower dtype are told apart."""
    scores = randn(seeded(0), 2, 3, 4)
    expect_softmax(scores.softmax(-1), scores, what="here", hint="why")
    with pytest.raises(Wrong, match=r"log\(weight_j / weight_0\) here"):
        expect_softmax((scores / 2).softmax(-1), scores, what="here", hint="why")
    with pytest.raises(Wrong, match=r"log\(weight_j / weight_0\) here"):
        expect_softmax(scores.softmax(-1, dtype=torch.float32).double(), scores, what="here", hint="why")
    with pytest.raises(Wrong, match="each query's sum of weights"):
        expect_softmax(scores.softmax(-2), scores, what="here", hint="why")


def test_gradients_must_be_there_and_finite():
    """With the name of the first that is not."""
    leaf = torch.ones(2, requires_grad=True)
    with pytest.raises(Wrong, match="x should get a gradient"):
        expect_finite_gradients({"x": leaf}, hint="why")
    leaf.grad = torch.tensor([0.0, torch.inf])
    with pytest.raises(Wrong, match="the gradient of x should be finite, but is not\nhint: why"):
        expect_finite_gradients({"x": leaf}, hint="why")
    leaf.grad = torch.zeros(2)
    expect_finite_gradients({"x": leaf}, hint="why")
