"""What the authors of katas import, and the only room that a kata's tests and probes import. Imports core and torch.

The checks and random inputs are here; `cost`, `probes`, `bench` and `gpu` are modules of their own.
"""

from dojo.testing.checks import (
    Wrong,
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
)
from dojo.testing.cost import Cost, measure
from dojo.testing.sampling import draw, expect_distribution, randint, randn

__all__ = [
    "Cost",
    "Wrong",
    "draw",
    "expect",
    "expect_close",
    "expect_distribution",
    "expect_equal",
    "expect_raises",
    "expect_rng_untouched",
    "expect_unchanged",
    "measure",
    "randint",
    "randn",
]
