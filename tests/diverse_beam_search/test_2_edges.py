"""Stage 2. More groups, early ends, length penalty, bad values."""

import math

import pytest

from dojo.testing import expect_raises
from dojo.testing.decoding import every_hypothesis, markov
from katas.diverse_beam_search import diverse_beam_search

from .helpers import INF, expect_groups, recurrent

LATE_WINNER = [  # [0, eos] and [0, 2, eos] are finished after two steps, and [0, 1, 3, eos] = 0.3105 beats both
    [0.0, 0.5, 0.2, 0.0, 0.3],
    [0.0, 0.0, 0.0, 0.69, 0.31],
    [0.02, 0.03, 0.05, 0.0, 0.9],
    [0.02, 0.03, 0.04, 0.01, 0.9],
    [0.2] * 5,
]
SLOW_WINNER = [  # a token of [0, 1, 3, 3, ...] costs less and less: its mean wins only after some steps
    [0.0, 0.27, 0.25, 0.0, 0.48],
    [0.12, 0.12, 0.36, 0.38, 0.02],
    [0.0, 0.01, 0.01, 0.0, 0.98],
    [0.005, 0.005, 0.005, 0.98, 0.005],
    [0.2] * 5,
]


def test_all_earlier_groups_count():
    """Worked, one step at strength 1, probabilities 0.5, 0.3 and 0.2: the groups take 0, 1, 2, then 0 again, all
    being penalised once, and then 1: a token that two groups took costs twice the penalty."""
    model = markov([[0.5, 0.3, 0.2, 0.0]] * 4)
    expect_groups(
        diverse_beam_search(model, 0, 3, 5, 1, groups=5, diversity=1.0),
        [[([0, token], math.log(p))] for token, p in [(0, 0.5), (1, 0.3), (2, 0.2), (0, 0.5), (1, 0.3)]],
        what="one step of five groups",
        hint="the count runs over all earlier groups, and the penalty over the count; scores are reported without it",
    )


def test_later_groups_do_not_change_earlier_ones(rng):
    """The groups choose in order, so a search with more groups of the same size begins with the same lists."""
    model = recurrent(rng, 7, banned=[1])
    few = diverse_beam_search(model, 0, 1, 4, 5, groups=2, diversity=0.8)
    expect_groups(
        diverse_beam_search(model, 0, 1, 8, 5, groups=4, diversity=0.8)[:2],
        few,
        what="four groups, compared with two",
        hint="count groups 0 .. g-1 only, and start the counts anew in each step",
    )


def test_a_finished_group_neither_ends_the_others_nor_counts_on():
    """Worked: group 0 has [0, eos] after two steps and is done; group 1 goes 1, 2, eos, and may use eos in step three."""
    model = markov([[0, 0, 0, 0, 1.0], [0, 0, 0.9, 0.1, 0], [0, 0, 0.1, 0, 0.9], [0.6, 0.4, 0, 0, 0], [0.2] * 5])
    expect_groups(
        diverse_beam_search(model, 3, 4, 2, 6, groups=2, diversity=100.0),
        [[([3, 0, 4], math.log(0.6))], [([3, 1, 2, 4], math.log(0.4 * 0.9 * 0.9))]],
        what="two groups that finish at different times",
        hint="each group ends on its own; a hypothesis that has finished takes no token in later steps",
    )


@pytest.mark.parametrize("penalty", [1.0, 2.5, -1.0])
def test_any_length_penalty_equals_brute_force(rng, penalty):
    """score = sum / (generated tokens) ** length_penalty, eos included and the start token not."""
    model = recurrent(rng, 3)
    expect_groups(
        diverse_beam_search(model, 2, 1, 54, 3, groups=2, diversity=0.4, length_penalty=penalty),
        [every_hypothesis(model, 3, 1, 3, penalty, start=2)] * 2,
        what=f"two groups that hold everything at length_penalty={penalty}",
        hint="divide the whole unpenalised sum once, by (generated tokens) ** length_penalty",
    )


def test_the_length_penalty_has_no_part_in_the_choice():
    """Worked, strength 1, one beam a group. In the second step token 1 has 0.8 and token 0 has 0.2; group 0 takes 1, and
    as 0.8 / e > 0.2, group 1 takes it as well. Halved sums would let it take 0: as if the strength were 2."""
    model = markov([[0.2, 0.8, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4])
    expect_groups(
        diverse_beam_search(model, 2, 3, 2, 2, groups=2, diversity=1.0, length_penalty=1.0),
        [[([2, 0, 1], math.log(0.48) / 2)], [([2, 1, 1], math.log(0.32) / 2)]],
        what="two groups of one beam at length_penalty=1",
        hint="choose by sum - diversity x count; divide by the length only where scores are compared",
    )


@pytest.mark.parametrize(
    ("rows", "penalty", "best", "score"),
    [
        (LATE_WINNER, 0.0, [0, 1, 3, 4], math.log(0.5 * 0.69 * 0.9)),
        (SLOW_WINNER, 1.0, [0, 1, 3, 3, 3, 3], (math.log(0.1026) + 3 * math.log(0.98)) / 5),
    ],
    ids=["late winner", "slow winner"],
)
def test_no_group_gives_up_too_early(rows, penalty, best, score):
    """A group whose list is full goes on while a running hypothesis can still enter it."""
    found = diverse_beam_search(markov(rows), 0, 4, 4, 5, groups=2, diversity=0.0, length_penalty=penalty)
    expect_groups(
        [group[:1] for group in found],
        [[(best, score)]] * 2,
        what="the best of each group",
        hint="stop a group when no running sum / max_length ** penalty (for a positive penalty) beats its worst finished one",
    )


@pytest.mark.parametrize(
    ("first", "second", "penalty", "length", "tokens", "score"),
    [
        ([0.0, 0.5, 0.18, 0.0, 0.32], [0.1, 0.0, 0.0, 0.6, 0.3], 0.0, 8, [0, 1, 3, 4], math.log(0.27)),
        ([0.0, 0.5, 0.20, 0.0, 0.30], [0.05, 0.0, 0.0, 0.9, 0.05], -1.0, 8, [0, 1, 3, 4], math.log(0.405) * 3),
        ([0.0, 0.385, 0.305, 0.0, 0.31], [0.0, 0.0, 0.0, 0.995, 0.005], -1.0, 2, [0, 1, 3], math.log(0.383075) * 2),
    ],
    ids=["penalty 0", "penalty -1", "unfinished"],
)
def test_the_second_place_is_settled_too(first, second, penalty, length, tokens, score):
    """[0, eos] has won after two steps and [0, 2, eos] is finished as well, but [0, 1, 3, ...], which
    still runs, comes in before that one, with its eos or unfinished at max_length."""
    model = markov([first, second, [0.01, 0.01, 0.01, 0.0, 0.97], [0.03, 0.03, 0.03, 0.01, 0.9], [0.2] * 5])
    expect_groups(
        diverse_beam_search(model, 0, 4, 4, length, groups=2, diversity=0.0, length_penalty=penalty),
        [[([0, 4], math.log(first[4])), (tokens, score)]] * 2,
        what=f"two groups of two beams at length_penalty={penalty:g}",
        hint="compare the worst of a group's list with the best score that a running hypothesis can reach: with a penalty of "
        "0 or below a longer one only gets worse, so that is its score now",
    )


def test_a_start_token_that_is_also_eos_finishes_nothing(rng):
    """BART starts its decoder with eos. A group of 9 beams is wider than the vocabulary."""
    model = recurrent(rng, 3)
    expect_groups(
        diverse_beam_search(model, 1, 1, 18, 2, groups=2, diversity=1.0),
        [every_hypothesis(model, 3, 1, 2, start=1)] * 2,
        what="a search with start_token == eos_token",
        hint="only a generated eos finishes a hypothesis; ask for no more candidates than there are",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": 3},
        {"groups": 8},
        {"groups": 0},
        {"groups": -2},
        {"beam_width": 0},
        {"beam_width": -2},
        {"max_length": 0},
        {"max_length": -1},
        {"diversity": -0.1},
        {"diversity": INF},
        {"diversity": float("nan")},
    ],
    ids=str,
)
def test_bad_values_are_errors(wrong):
    """Groups of unequal size, groups without beams, and a penalty that is a reward (or inf x 0 = NaN)."""
    arguments = {"beam_width": 4, "max_length": 2, "groups": 2, "diversity": 0.5} | wrong
    with expect_raises(ValueError, what=f"diverse_beam_search({wrong})"):
        diverse_beam_search(markov([[0.5, 0.3, 0.2]] * 3), 0, 1, **arguments)
