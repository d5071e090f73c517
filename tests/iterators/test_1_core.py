"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.iterators import iterators


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(iterators(x), 2 * x, what="iterators(x)", hint="the likely mistake?")
