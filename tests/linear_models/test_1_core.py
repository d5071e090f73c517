"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.linear_models import linear_models


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(linear_models(x), 2 * x, what="linear_models(x)", hint="the likely mistake?")
