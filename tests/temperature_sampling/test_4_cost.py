"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs


@pytest.mark.parametrize("function", [temperature_probs, sample_token, gumbel_sample], ids=lambda f: f.__name__)
def test_the_batch_and_the_vocabulary_are_processed_at_once(function, cost):
    """A python loop launches operators in proportion to what it runs over; on a GPU the launches are the cost."""
    counts = []
    for batch, vocab in ((4, 10), (64, 10), (4, 160)):
        flat = torch.full((batch, vocab), 1 / vocab)
        with cost() as spent:
            function(flat, 0.7) if function is temperature_probs else function(flat)
        counts.append(spent.operators)
    expect(counts[0] > 0, f"the work of {function.__name__} should be done by torch operators, but none was seen")
    expect(
        max(counts) <= counts[0],
        f"{function.__name__} should take as many operators for [64, 10] and [4, 160] as for [4, 10] ({counts[0]}), but took {counts[1]} and {counts[2]}",
        hint="softmax, multinomial and argmax all take a batch",
    )
