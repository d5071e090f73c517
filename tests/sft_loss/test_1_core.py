"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.sft_loss import sft_loss


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(sft_loss(x), 2 * x, what="sft_loss(x)", hint="the likely mistake?")
