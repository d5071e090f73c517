"""What the authors of katas import: the only room that a kata's tests and probes import. Imports core and torch.

    from dojo.testing import expect_close, randn         # tests/NAME/test_*.py: checks, random inputs, limits
    from dojo.testing.diffusion import knows             # of one subject: also .attention, .decoding, .lines, .modules
    from dojo.testing.probes import Case, Draws, Pairs   # tests/NAME/probe.py
    from dojo.testing.bench import work                  # tests/NAME/bench.py
    from dojo.testing.gpu import gpu_benchmark           # tests/test_speed.py

The fixtures `rng`, `seed` and `cost` come from the pytest plugin (dojo.engine.fixtures). `codec` encodes evidence for the
grader; `describe` and `chi_square` serve the other modules.
"""

from dojo.testing.checks import (
    Wrong,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
)
from dojo.testing.cost import Cost, measure
from dojo.testing.dtypes import FLOATS, HALVES, numbers, roundings
from dojo.testing.gradients import backward, expect_gradients, expect_graph, expect_no_graph, expect_slope
from dojo.testing.limits import expect_flat_operators, expect_operators, expect_traffic
from dojo.testing.own_work import expect_own_work
from dojo.testing.randomness import expect_seeded, seeded
from dojo.testing.sampling import draw, expect_distribution, randint, randn

__all__ = [
    "FLOATS",
    "HALVES",
    "Cost",
    "Wrong",
    "backward",
    "called_for",
    "draw",
    "expect",
    "expect_close",
    "expect_distribution",
    "expect_equal",
    "expect_flat_operators",
    "expect_gradients",
    "expect_graph",
    "expect_no_graph",
    "expect_operators",
    "expect_own_work",
    "expect_raises",
    "expect_rng_untouched",
    "expect_seeded",
    "expect_slope",
    "expect_traffic",
    "expect_unchanged",
    "measure",
    "numbers",
    "randint",
    "randn",
    "roundings",
    "seeded",
]
