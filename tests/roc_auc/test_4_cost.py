"""Stage 4. Memory, and no loop."""

import tracemalloc

import numpy as np
import pytest

from dojo.testing import expect, measure, randint, randn
from dojo.testing.lines import expect_lines
from katas import roc_auc as kata

FUNCTION = pytest.mark.parametrize("name", ["roc_curve", "roc_auc", "average_precision"])
SCORES = pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
N = 6000


def samples(rng, ties):
    """Half positives; distinct scores, or about ten samples to a score."""
    scores = randint(rng, 0, N // 10, N).double() if ties else randn(rng, N)
    return np.arange(N) % 2, scores.numpy()


@FUNCTION
@SCORES
def test_memory_grows_with_the_samples_and_not_with_the_pairs(rng, name, ties):
    """All pairs of 6000 samples are 9 million comparisons, 1500 bytes a sample, and ten times that for ten times as many.
    Sorting, counting and a curve of float64 take 50 to 100."""
    given = samples(rng, ties)
    function = getattr(kata, name)
    with measure() as spent:
        tracemalloc.start()
        try:
            function(*given)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    used = max(peak, 8 * spent.largest) / N  # of torch the largest tensor: what it frees is not seen
    sentence = f"{name} of {N} samples should take at most 200 bytes a sample, but took {used:.0f}"
    expect(used <= 200, sentence, hint="sort once instead of comparing all pairs, or all samples with all thresholds")


@FUNCTION
@SCORES
def test_there_is_no_loop_over_samples_or_thresholds(rng, name, ties):
    """One pass over all samples for each threshold is n^2 as well, and Python's loops are slow even where they are n log n."""
    given = samples(rng, ties)
    what, hint = f"{name} of {N} samples", "argsort, cumsum and masks instead of loops and comprehensions"
    expect_lines(lambda: getattr(kata, name)(*given), kata, 200, what=what, hint=hint)
