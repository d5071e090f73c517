"""What the authors of katas import: the only room that a kata's tests and probes import. Imports core and torch.

    from dojo.testing import expect_close, randn         # tests/NAME/test_*.py: checks, random inputs, costs
    from dojo.testing.probes import Case, Draws, Pairs   # tests/NAME/probe.py
    from dojo.testing.bench import work                  # tests/NAME/bench.py
    from dojo.testing.gpu import gpu_benchmark           # tests/test_speed.py

The fixtures `rng`, `seed` and `cost` come from the pytest plugin (dojo.engine.fixtures). `codec` encodes evidence for the
grader; `describe` and `chi_square` serve the other modules.
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
