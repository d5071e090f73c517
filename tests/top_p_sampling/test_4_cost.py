"""Stage 4. Cost."""

import torch

from dojo.testing import expect
from katas.top_p_sampling import sample_top_p, top_p_filter


def test_the_batch_and_the_vocabulary_are_processed_at_once(rng, cost):
    """A python loop over rows, or one that adds tokens until p is reached, launches operators in proportion: 16 times
    as many here. Three times as many are let pass, for a fallback that only some rows need."""
    for name, function in (("top_p_filter", top_p_filter), ("sample_top_p", sample_top_p)):
        counts = []
        for batch, vocab in ((4, 20), (64, 20), (4, 320)):
            logits = torch.rand(batch, vocab, generator=rng)
            with cost() as spent:
                function(logits, 0.9)
            counts.append(spent.operators)
        expect(counts[0] > 0, f"the work of {name} should be done by torch operators, but none was seen")
        expect(
            max(counts) <= 3 * counts[0],
            f"{name} should take about as many operators for [64, 20] and [4, 320] as for [4, 20] ({counts[0]}), but took {counts[1]} and {counts[2]}",
            hint="sort, cumsum, scatter, multinomial and gather all take a batch",
        )


def test_work_grows_with_the_vocabulary_not_with_its_square(rng, cost):
    """Sorting, and half a dozen passes, cost some 20x the bytes of the logits (some hundred by bisection); comparing
    every token with every other one costs 4096x and more here, and at 128 256 tokens does not fit at all."""
    logits = torch.rand(4, 4096, generator=rng)
    for name, function in (("top_p_filter", top_p_filter), ("sample_top_p", sample_top_p)):
        with cost() as spent:
            function(logits, 0.9)
        ratio = spent.bytes / logits.nbytes
        expect(
            1 <= ratio <= 500,
            f"{name} of [4, 4096] logits should move between 1x and 500x their bytes, but moved {ratio:.1f}x ({dict(spent.calls.most_common(6))})",
            hint="one sort and a cumulative sum; no [vocab, vocab] comparison",
        )
