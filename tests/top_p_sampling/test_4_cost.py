"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect_flat_operators, expect_traffic
from katas.top_p_sampling import sample_top_p, top_p_filter

each_function = pytest.mark.parametrize("function", [top_p_filter, sample_top_p], ids=lambda f: f.__name__)


@each_function
def test_the_batch_and_the_vocabulary_are_processed_at_once(rng, function):
    """A python loop over rows, or one that adds tokens until p is reached, launches operators in proportion: 16 times
    as many here. Three times as many are let pass, for a fallback that only some rows need."""
    expect_flat_operators(
        lambda logits: function(logits, 0.9),
        lambda size: [torch.rand(*size, generator=rng)],
        [(4, 20), (64, 20), (4, 320)],
        what=function.__name__,
        hint="sort, cumsum, scatter, multinomial and gather all take a batch",
        times=3,
    )


@each_function
def test_work_grows_with_the_vocabulary_not_with_its_square(rng, cost, function):
    """Sorting, and half a dozen passes, cost some 20x the bytes of the logits (some hundred by bisection); comparing
    every token with every other one costs 4096x and more here, and at 128 256 tokens does not fit at all."""
    logits = torch.rand(4, 4096, generator=rng)
    with cost() as spent:
        function(logits, 0.9)
    hint = "one sort and a cumulative sum; no [vocab, vocab] comparison"
    expect_traffic(spent, logits, 500, what=function.__name__, of="[4, 4096] logits", hint=hint)
