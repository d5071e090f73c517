"""Stage 1. Min-p and typical sampling."""

import math

import pytest
import torch

from dojo.testing import expect_close, numbers, randn
from katas.logit_processors import min_p_filter, typical_filter

from .helpers import LOGITS, NEAREST, expect_typical, only


@pytest.mark.parametrize(("min_p", "tokens"), [(0.8, [1]), (0.5, [1, 3]), (0.2, [0, 1, 3]), (0.06, [0, 1, 2, 3])])
def test_min_p_by_example(min_p, tokens):
    """Probabilities [0.15, 0.5, 0.05, 0.3]; beside the best one that is [0.3, 1, 0.1, 0.6]."""
    expect_close(
        min_p_filter(LOGITS, min_p),
        only(LOGITS, tokens),
        what=f"min_p_filter(3 + log [0.15, 0.5, 0.05, 0.3], min_p={min_p})",
        hint="keep p >= min_p * max p; kept logits stay as they are, dropped ones are -inf",
    )


@pytest.mark.parametrize(("mass", "tokens"), [(0.2, [3]), (0.6, [1, 3]), (0.9, [0, 1, 3]), (0.98, [0, 1, 2, 3])])
def test_typical_by_example(mass, tokens):
    """Probabilities [0.15, 0.5, 0.05, 0.3]: H = 1.142, and -log p = [1.897, 0.693, 2.996, 1.204] lies [0.755, 0.449, 1.854,
    0.062] away from it. So the nearest is token 3, and the best one is second."""
    expect_close(
        typical_filter(LOGITS, mass),
        only(LOGITS, tokens),
        what=f"typical_filter(3 + log [0.15, 0.5, 0.05, 0.3], mass={mass})",
        hint=f"{NEAREST}; all logarithms are natural",
    )


@pytest.mark.parametrize("min_p", [0.01, 0.1, 0.5, 0.9])
def test_min_p_is_a_distance_from_the_best_logit(rng, min_p):
    """p_i / max p = exp(z_i - max z), whatever the other tokens are: z >= max z + log min_p. On 40 random rows, high and low."""
    logits = 2 * randn(rng, 40, 12) + 20 * randn(rng, 40, 1)
    want = logits.where(logits >= logits.amax(-1, keepdim=True) + math.log(min_p), -torch.inf)
    hint = "the threshold is min_p times the largest probability, of each row, not of the logits"
    expect_close(min_p_filter(logits, min_p), want, what=f"min_p_filter(min_p={min_p}) of random rows", hint=hint)


@pytest.mark.parametrize("mass", [0.05, 0.3, 0.5, 0.77, 0.9, 0.99])
def test_the_typical_set_is_the_smallest_of_its_mass(rng, mass):
    """The definition itself, on 12 random rows: nearest first, enough mass, not one token more."""
    for logits in 2 * randn(rng, 12, 12) + 5:
        expect_typical(logits, typical_filter(logits, mass), mass)


def test_the_best_token_may_be_dropped():
    """One token of 0.3 and seventy of 0.01 have an entropy of 3.6: the best one, -log 0.3 = 1.2, says too little, and a rare
    one, -log 0.01 = 4.6, is nearer. That is what sets typical sampling apart from top-p."""
    logits = numbers(*[0.3] + 70 * [0.01]).log()
    expect_close(
        typical_filter(logits, 0.69)[:1],
        numbers(-math.inf),
        what="typical_filter(log [0.3, 70 times 0.01], mass=0.69)[0]",
        hint="nearest to the entropy first: nobody is kept for being the most probable",
    )
