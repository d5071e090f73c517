"""Stage 2. Batches, repeated tokens, short histories, bad values."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, randint, randn
from katas.repetition_control import block_repeated_ngrams, frequency_presence_penalty, repetition_penalty

from .helpers import EACH, banned, doubles, each_function, history


@each_function
@pytest.mark.parametrize(("batch", "vocab"), [(5, 5), (3, 6), (1, 4)])
def test_each_row_has_its_own_history(rng, name, batch, vocab):
    """A row in a batch gives what it gives alone; at batch == vocab an index along the wrong axis goes unnoticed."""
    logits, tokens = randn(rng, batch, vocab), randint(rng, 0, vocab, batch, 8)
    together = EACH[name](logits, tokens)
    alone = torch.cat([EACH[name](logits[i : i + 1], tokens[i : i + 1]) for i in range(batch)])
    expect_close(
        together,
        alone,
        what=f"{name} of a [{batch}, {vocab}] batch, beside its rows one by one",
        hint="what one row has said must not be held against another: gather and scatter along the last axis",
    )


def test_the_repetition_penalty_counts_a_token_once():
    """Seen five times or once: the same. Applied once per occurrence, 2 ** 5 would silence the token."""
    logits = doubles(8, -8, 1)
    expect_close(
        repetition_penalty(logits, history(0, 1, 0, 0, 1, 0, 0), 2.0),
        doubles(4, -16, 1),
        what="repetition_penalty([8, -8, 1], tokens [0, 1, 0, 0, 1, 0, 0], penalty=2)",
        hint="once for each distinct token: compute from the original logits, or deduplicate",
    )


def test_a_penalty_below_one_encourages_and_zero_stays_zero():
    """The rule is the same on either side of 1. A logit of 0 has no sign to go by, and either branch leaves it at 0."""
    expect_close(
        repetition_penalty(doubles(2, -4, 0, 3), history(0, 1, 2), 0.5),
        doubles(4, -2, 0, 3),
        what="repetition_penalty([2, -4, 0, 3], tokens [0, 1, 2], penalty=0.5)",
        hint="positive: divide; negative: multiply; whatever the penalty",
    )


@pytest.mark.parametrize(
    ("frequency", "presence", "expected"),
    [(0.5, 0.0, (7.5, 8, 6)), (0.0, 0.5, (7.5, 8, 7.5)), (-1.0, -2.0, (11, 8, 14))],
)
def test_frequency_counts_and_presence_does_not(frequency, presence, expected):
    """Token 2 was seen four times, token 0 once. Each penalty alone; negative ones encourage."""
    expect_close(
        frequency_presence_penalty(doubles(8, 8, 8), history(2, 2, 0, 2, 2), frequency, presence),
        doubles(*expected),
        what=f"frequency_presence_penalty([8, 8, 8], tokens [2, 2, 0, 2, 2], {frequency}, {presence})",
        hint="frequency is multiplied by the count, presence by 1 if the count is not 0",
    )


@each_function
def test_an_empty_history_changes_nothing(rng, name):
    """The first step of generation without a prompt: tokens of shape [batch, 0]."""
    logits = randn(rng, 3, 5)
    expect_close(
        EACH[name](logits, torch.zeros(3, 0, dtype=torch.int64)),
        logits,
        what=f"{name} with tokens of shape [3, 0]",
        hint="nothing was seen: a copy of the logits",
    )


def test_neutral_penalties_change_nothing(rng):
    """penalty 1, frequency 0 and presence 0 are how these are switched off."""
    logits, tokens = randn(rng, 3, 5), randint(rng, 0, 5, 3, 4)
    expect_close(repetition_penalty(logits, tokens, 1.0), logits, what="repetition_penalty(penalty=1)")
    expect_close(frequency_presence_penalty(logits, tokens, 0.0, 0.0), logits, what="frequency_presence_penalty(0, 0)")


@pytest.mark.parametrize(("length", "n"), [(1, 2), (1, 3), (2, 3), (2, 4), (2, 50)])
def test_a_history_without_an_ngram_bans_nothing(length, n):
    """Shorter than n: there is no n-gram yet to repeat. Equal tokens, so that any false match would show."""
    expect_equal(
        banned([4] * length, n),
        [],
        what=f"the tokens banned after {[4] * length} with n={n}",
        hint="fewer than n tokens: return a copy of the logits",
    )


@pytest.mark.parametrize(
    ("tokens", "n", "expected"),
    [([5, 5], 2, [5]), ([5, 5, 5], 3, [5]), ([1, 2, 1, 2], 3, [1]), ([1, 2, 1], 2, [2]), ([3, 3, 3, 3], 4, [3])],
)
def test_the_last_window_counts_although_it_overlaps(tokens, n, expected):
    """The most recent n-gram shares tokens with the one about to be made. Loops like "a a a" are caught only so."""
    expect_equal(
        banned(tokens, n),
        expected,
        what=f"the tokens banned after {tokens} with n={n}",
        hint="there are length - n + 1 windows: the last one ends in the last token",
    )


@pytest.mark.parametrize(("tokens", "expected"), [([0, 1, 4, 2, 1, 4], [2]), ([0, 0, 1, 4, 2, 1, 4], [2])])
def test_windows_start_at_every_token(tokens, expected):
    """Not at every n-th one: whether an n-gram is found must not depend on where it stands."""
    expect_equal(
        banned(tokens, 3), expected, what=f"the tokens banned after {tokens} with n=3", hint="windows with stride 1"
    )


@pytest.mark.parametrize("tokens", [[1, 3, 2, 3, 1], [2, 3, 1, 3, 1]], ids=str)
def test_a_ban_is_not_undone(tokens):
    """With n = 2, 1 3 bans 3. The bigram 2 3 does not match, and must not write "allowed" over that ban."""
    expect_equal(
        banned(tokens, 2),
        [3],
        what=f"the tokens banned after {tokens} with n=2",
        hint="scattering a mask of matches lets one window overwrite another: add them up, or write only the matches",
    )


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_an_error(penalty):
    """0 divides by zero, a negative penalty turns signs around, and NaN fails every comparison."""
    with expect_raises(ValueError, what=f"repetition_penalty(penalty={penalty})", hint="`not penalty > 0`"):
        repetition_penalty(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), penalty)


@pytest.mark.parametrize("n", [0, -1])
def test_n_below_one_is_an_error(n):
    """n = 0 means 'off' in some libraries and nothing here: there is no 0-gram to repeat."""
    with expect_raises(ValueError, what=f"block_repeated_ngrams(n={n})"):
        block_repeated_ngrams(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), n)
