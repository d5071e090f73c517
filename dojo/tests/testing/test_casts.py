"""Casts of NaN and infinities to integers."""

import torch

from dojo.testing.casts import UndefinedCasts

X = torch.tensor([1.0, float("nan"), float("inf"), 300.0])


def test_what_is_not_finite_is_counted():
    with UndefinedCasts() as casts:
        X.to(torch.int8)
        assert casts.count == 2
        torch.zeros(4, dtype=torch.int64).copy_(X)
        assert casts.count == 4


def test_other_casts_and_what_is_replaced_before_are_not():
    with UndefinedCasts() as casts:
        X.half().float()
        X.nan_to_num(0, 0, 0).to(torch.int8)
        torch.arange(3).to(torch.int8)
        torch.where(X.isfinite(), X, 0.0).char()
    assert casts.count == 0
