"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.v_prediction import v_prediction


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(v_prediction(x), 2 * x, what="v_prediction(x)", hint="the likely mistake?")
