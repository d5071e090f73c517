"""Stage 3. Banned tokens, half precision."""

import math

import pytest
import torch

from dojo.testing import FLOATS, expect, expect_equal
from dojo.testing.decoding import markov
from katas.diverse_beam_search import diverse_beam_search

from .helpers import expect_groups, recurrent


def test_a_banned_token_is_no_way_out():
    """One token is possible, so all groups take it, however much the penalty is; its score is log 1 = 0."""
    model = markov([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expect_groups(
        diverse_beam_search(model, 0, 2, 4, 4, groups=2, diversity=50.0),
        [[([0, 1, 2], 0.0)]] * 2,
        what="a search with one possible hypothesis",
        hint="drop candidates whose sum is -inf; a penalised token is still possible",
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sums_are_wider_than_half_precision(rng, dtype):
    """40 log-probabilities of about -2 reach -80, where bfloat16 has steps of 0.5 and float16 of 0.06."""
    model = recurrent(rng, 8, dtype, banned=[1])
    found = diverse_beam_search(model, 0, 1, 2, 40, groups=2, diversity=0.5)
    for number, group in enumerate(found):
        tokens, score = group[0]
        rows = [model(torch.tensor([tokens[:n]]))[0] for n in range(1, len(tokens))]
        total = sum(float(row[token]) for row, token in zip(rows, tokens[1:], strict=True))
        expect(
            math.isclose(score, total, rel_tol=1e-5),
            f"the score in group {number} should be the sum of its 40 {dtype} log-probabilities, {total:.6g}, but is {score:.6g}",
            hint="convert to float32 or float64 before you add up, and report sums without the penalty",
        )
        expect_equal([type(score), type(tokens[-1])], [float, int], what="the types of a score and of a token")
