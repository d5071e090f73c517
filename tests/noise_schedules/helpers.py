"""What any right schedule does. Betas are small: comparisons are relative, never with torch's absolute 1e-7."""

from dojo.testing import expect_close


def expect_betas(actual, expected, what, hint):
    """Relative 1e-6: that the digits after those are right as well is a test of its own (stage 3)."""
    expect_close(actual, expected, what=what, hint=hint, rtol=1e-6, atol=0.0)
