"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.nms import nms


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(nms(x), 2 * x, what="nms(x)", hint="the likely mistake?")
