"""The made-up language models of the searches' tests."""

import math

import pytest
import torch

from dojo.testing import Wrong
from dojo.testing.decoding import counting, every_hypothesis, expect_score, markov

MODEL = markov([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])


def test_only_the_last_token_counts():
    """The row of the last token, as log-probabilities."""
    got = MODEL(torch.tensor([[0, 1], [2, 1], [1, 0]])).exp()
    torch.testing.assert_close(got[0], got[1])
    assert got[2].tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_every_hypothesis_is_there_once_best_first():
    """Probabilities of all hypotheses sum to 1; what is impossible is left out."""
    found = every_hypothesis(MODEL, 3, eos=1, length=3)
    assert sum(math.exp(score) for _, score in found) == pytest.approx(1.0)
    assert found[0] == ([0, 2, 1], pytest.approx(math.log(0.45)))
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    tokens = [tuple(row) for row, _ in found]
    assert len(set(tokens)) == len(tokens)
    assert all(row[-1] == 1 or len(row) == 4 for row in tokens)
    assert all(1 not in row[1:-1] for row in tokens)
    assert (0, 2, 2, 1) not in tokens


def test_the_penalty_divides_by_a_power_of_the_length():
    """Of what was generated: the start token does not count."""
    plain, halved = (dict((tuple(t), s) for t, s in every_hypothesis(MODEL, 3, 1, 2, p)) for p in (0.0, 1.0))
    assert halved[0, 2, 1] == pytest.approx(plain[0, 2, 1] / 2)
    assert halved[0, 1] == plain[0, 1]


def test_scores_may_be_sums_in_float32():
    """1e-5, and no more."""
    expect_score(-80.0004, -80.0, what="a score", hint="")
    with pytest.raises(Wrong) as error:
        expect_score(-80.01, -80.0, what="a score", hint="sum")
    assert str(error.value) == "a score should be -80, but is -80.01\nhint: sum"


def test_calls_are_counted_with_their_shapes():
    """Rows and length, call by call."""
    counted, shapes = counting(MODEL)
    counted(torch.zeros(2, 1, dtype=torch.int64))
    counted(torch.zeros(3, 4, dtype=torch.int64))
    assert shapes == [[2, 1], [3, 4]]
