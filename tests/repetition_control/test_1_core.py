"""Stage 1. The three rules."""

import pytest

from dojo.testing import expect_close, expect_equal, randint, randn
from katas.repetition_control import frequency_presence_penalty, repetition_penalty

from .helpers import EACH, banned, doubles, each_function, history


def ends_in_a_repeat(tokens, n):
    """Whether the last n of these tokens also stand together somewhere before."""
    return len(tokens) > n and any(tokens[i : i + n] == tokens[-n:] for i in range(len(tokens) - n))


def test_the_repetition_penalty_by_example():
    """Dividing a negative logit would *raise* it: -3 / 2 = -1.5. CTRL's rule divides positive and multiplies negative ones."""
    expect_close(
        repetition_penalty(doubles(2, -1, 4, -3, 0.5), history(2, 3, 4), 2.0),
        doubles(2, -1, 2, -6, 0.25),
        what="repetition_penalty([2, -1, 4, -3, 0.5], tokens [2, 3, 4], penalty=2)",
        hint="only seen tokens change: divide positive logits by the penalty, multiply negative ones by it",
    )


def test_frequency_and_presence_by_example():
    """Token 0 was seen once, token 2 three times: 0.5 + 0.25 and 3 * 0.5 + 0.25 are taken away."""
    expect_close(
        frequency_presence_penalty(doubles(1, 2, 3, -4), history(2, 0, 2, 2), 0.5, 0.25),
        doubles(0.25, 2, 1.25, -4),
        what="frequency_presence_penalty([1, 2, 3, -4], tokens [2, 0, 2, 2], frequency=0.5, presence=0.25)",
        hint="subtract frequency times the count, and presence once for a token that was seen at all",
    )


@pytest.mark.parametrize(("n", "expected"), [(1, [0, 1, 2, 3]), (2, [3]), (3, [3]), (4, []), (5, [])])
def test_ngrams_by_example(n, expected):
    """After 0 1 2 3 1 2: the bigram 2 3 and the trigram 1 2 3 exist already, so 3 is banned; 3 1 2 never had a successor."""
    expect_equal(
        banned([0, 1, 2, 3, 1, 2], n),
        expected,
        what=f"the tokens banned after [0, 1, 2, 3, 1, 2] with n={n}",
        hint="compare the last n - 1 tokens with every earlier stretch of n - 1; what followed there is banned",
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_token_is_banned_exactly_when_it_would_repeat_an_ngram(rng, n):
    """The definition, tried for every token after 30 random histories of 12 tokens out of 3."""
    for tokens in randint(rng, 0, 3, 30, 12).tolist():
        want = [token for token in range(3) if ends_in_a_repeat([*tokens, token], n)]
        expect_equal(
            banned(tokens, n, vocab=3),
            want,
            what=f"the tokens banned after {tokens} with n={n}",
            hint="try it by hand: append the token, then look for its last n tokens further left, overlapping or not",
        )


@each_function
def test_unseen_tokens_keep_their_logits(rng, name):
    """Only what was seen is touched; the result is logits again, not probabilities."""
    logits = randn(rng, 4, 9)
    tokens = randint(rng, 0, 5, 4, 7)  # tokens 5 to 8 are never seen
    expect_close(
        EACH[name](logits, tokens)[:, 5:],
        logits[:, 5:],
        what=f"the logits of unseen tokens after {name}",
        hint="no softmax and no normalising: change the logits of seen tokens, and nothing else",
    )


def test_every_successor_is_banned():
    """1 2 was followed by 3, then by 4: both are banned, and a search that stops at the first match misses one."""
    expect_equal(
        banned([1, 2, 3, 1, 2, 4, 1, 2], 3),
        [3, 4],
        what="the tokens banned after [1, 2, 3, 1, 2, 4, 1, 2] with n=3",
        hint="look at all earlier occurrences, not only at the first or the last one",
    )
