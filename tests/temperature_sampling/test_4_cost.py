"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect_flat_operators
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs


@pytest.mark.parametrize("function", [temperature_probs, sample_token, gumbel_sample], ids=lambda f: f.__name__)
def test_the_batch_and_the_vocabulary_are_processed_at_once(function):
    """A python loop launches operators in proportion to what it runs over; on a GPU the launches are the cost."""
    expect_flat_operators(
        (lambda logits: temperature_probs(logits, 0.7)) if function is temperature_probs else function,
        lambda size: [torch.full(size, 1 / size[1])],
        [(4, 10), (64, 10), (4, 160)],
        what=function.__name__,
        hint="softmax, multinomial and argmax all take a batch",
    )
