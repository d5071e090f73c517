"""Stage 1. One distribution."""

import pytest
import torch

from dojo.testing import expect_close, expect_distribution, randn
from katas.top_p_sampling import sample_top_p, top_p_filter

from .helpers import CROSSING, INF, PROBS, N, expect_nucleus, only

NUCLEI = [(0.25, [1]), (0.6, [1, 3]), (0.78, [1, 3, 4]), (0.92, [0, 1, 3, 4]), (0.98, [0, 1, 2, 3, 4])]


@pytest.mark.parametrize(("p", "tokens"), NUCLEI)
def test_a_worked_example(p, tokens):
    """Probabilities [0.1, 0.4, 0.05, 0.3, 0.15], from the top: masses 0.4, 0.7, 0.85, 0.95, 1."""
    logits = PROBS.log() + 3
    want = torch.full_like(logits, -INF)
    want[tokens] = logits[tokens]
    expect_close(
        top_p_filter(logits, p),
        want,
        what=f"top_p_filter(3 + log [0.1, 0.4, 0.05, 0.3, 0.15], p={p})",
        hint=f"{CROSSING}; carry the mask back to the tokens' own order; kept logits stay as they are, dropped ones are -inf",
    )


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.77, 0.9, 0.99])
def test_the_nucleus_is_the_smallest_set_of_mass_p(rng, p):
    """The definition itself, on 40 random rows: enough mass, not one token more, the most probable ones."""
    for logits in 2 * randn(rng, 40, 12):
        expect_nucleus(logits, top_p_filter(logits, p), p)


@pytest.mark.parametrize(("p", "tokens"), NUCLEI)
def test_tokens_follow_their_softmax_inside_the_nucleus(p, tokens):
    """No other token is ever drawn, and inside the ratios are the model's. Chi-square, N = 4000: 1e-6 false alarms."""
    expect_distribution(
        sample_top_p(PROBS.log().expand(N, -1), p),
        only(PROBS, tokens),
        what=f"tokens drawn with p={p} from [0.1, 0.4, 0.05, 0.3, 0.15]",
        hint="draw inside the nucleus with the softmax of the kept logits, and map ranks back to tokens",
    )
