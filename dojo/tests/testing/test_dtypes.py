"""Dtypes and the tolerance of roundings."""

import pytest
import torch

from dojo.testing import FLOATS, HALVES, Wrong, expect_close, numbers, roundings


def test_the_sweeps_hold_each_floating_dtype_once():
    """The two halves first: they fail first."""
    assert FLOATS == [*HALVES, torch.float32, torch.float64]
    assert len(set(FLOATS)) == 4


def test_numbers_are_float64_unless_told():
    """Whatever is given."""
    assert numbers(1, 2.5).dtype == torch.float64
    assert numbers(1, 2.5, dtype=torch.float16).tolist() == [1.0, 2.5]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_one_rounding_is_within_one_and_three_are_not(dtype):
    """In units of the last place of the largest number, at small numbers as well."""
    exact = torch.tensor([8.0, 0.0], dtype=torch.float64)
    close = roundings(1, dtype, exact)
    expect_close((exact + 8 * torch.finfo(dtype).eps).to(torch.float64), exact, **close)
    with pytest.raises(Wrong, match="should be 0, but is"):
        expect_close(exact + torch.tensor([0.0, 24.0]) * torch.finfo(dtype).eps, exact, **close)
    assert roundings(2, dtype, 4.0) == roundings(8, dtype)
