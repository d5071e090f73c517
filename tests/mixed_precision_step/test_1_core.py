"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.mixed_precision_step import mixed_precision_step


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(mixed_precision_step(x), 2 * x, what="mixed_precision_step(x)", hint="the likely mistake?")
