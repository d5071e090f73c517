"""How the references' cost grows: doubling a dimension multiplies the counted work as the bench file promises.

`dojo.testing.cost` counts, so the result is the same on every machine. It does not count what a sort does inside one
operator, nor what Python does beside torch.
"""

import pytest
import torch

from dojo.authoring.bench.worker import load_source
from dojo.core.paths import Checkout
from dojo.testing.bench import Bench, load_plan
from dojo.testing.cost import measure
from dojo.tests.checkouts import REPOSITORY

CHECKOUT = Checkout(REPOSITORY)
PROMISES = [
    pytest.param(path, work, dimension, id=f"{path.parent.name}-{work.name}-{dimension}")
    for path in sorted(REPOSITORY.glob("tests/*/bench.py"))
    for work in load_plan(path).works
    for dimension in work.grows
]


def spent(path, work, size):
    """Returns the bytes or FLOPs, and the operators, of the reference's work at this size."""
    torch.manual_seed(0)
    bench = work.set_up(Bench({"reference": load_source("reference", CHECKOUT.reference(path.parent.name))}), size)
    with measure() as total:
        bench.ways["reference"]()
    return getattr(total, work.counts), total.operators


@pytest.mark.parametrize(("path", "work", "dimension"), PROMISES)
def test_twice_the_size_costs_what_was_promised(path, work, dimension):
    """Within a tenth: fixed costs are small even at these sizes."""
    torch.set_num_threads(1)
    once, operators = spent(path, work, work.tiny)
    twice, operators_twice = spent(path, work, {**work.tiny, dimension: 2 * work.tiny[dimension]})
    assert once > 0, f"no {work.counts} were counted"
    promised = 2.0 ** work.grows[dimension]
    assert promised / 1.1 <= twice / once <= promised * 1.1, f"{dimension} doubled: {twice / once:.2f} times as much"
    if dimension not in ("length", "layers"):  # a decoder takes a step for each token, an optimizer for each parameter
        assert operators_twice == operators, "more operators for a larger input"


def test_without_a_cache_the_work_grows_with_the_square_of_the_length():
    """A text of twice the length costs nearly four times the projections, which beam_search_with_cache avoids."""
    plan = load_plan(CHECKOUT.bench("beam_search"))
    size = {"beams": 2, "vocab": 16, "length": 32}
    flops = []
    for length in (32, 64):
        module = load_source("reference", CHECKOUT.reference("beam_search"))
        bench = plan.works[0].set_up(Bench({"reference": module}), {**size, "length": length})
        with measure() as total:
            bench.ways["naive: no cache"]()
        flops.append(total.flops)
    assert 3.6 < flops[1] / flops[0] < 4.1
