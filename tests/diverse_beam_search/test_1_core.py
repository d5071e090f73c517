"""Stage 1. The choice of one step, groups in order."""

import math

import pytest

from dojo.testing import expect
from dojo.testing.decoding import every_hypothesis, markov
from katas.diverse_beam_search import diverse_beam_search

from .helpers import expect_groups, recurrent


def test_each_group_avoids_what_earlier_groups_take_in_this_step():
    """Worked, strength 1, one beam a group. First step: group 0 takes 0; 0.6 / e < 0.4, so group 1 takes 1. Second step:
    group 0 takes 1, and 0.55 / e < 0.45, so group 1 takes 0 although group 0 had it a step before."""
    model = markov([[0.2, 0.8, 0.0, 0.0], [0.45, 0.55, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4])
    expect_groups(
        diverse_beam_search(model, 2, 3, 2, 2, groups=2, diversity=1.0),
        [[([2, 0, 1], math.log(0.48))], [([2, 1, 0], math.log(0.18))]],
        what="two groups of one beam",
        hint="subtract diversity x count from the log-probabilities; counts are of this step and this step only, and "
        "scores are reported without the penalty",
    )


def test_beams_are_counted_and_the_penalty_is_not_carried_along():
    """Worked, strength 1, two beams a group. After the first step group 0 has {0, 1} and group 1 has {2: 0.2, 0: 0.5 (0.5 / e
    when it was chosen)}. Then both beams of group 0 take token 0, which costs group 1 a factor e^2; of its children
    [0, 1] = 0.2, [2, 2] = 0.1, [2, 3] = 0.084 and [0, 0] = 0.3 / e^2 = 0.041 the first two stay."""
    model = markov(
        [[0.6, 0.4, 0, 0, 0], [0.9, 0.1, 0, 0, 0], [0.08, 0, 0.5, 0.42, 0], [0.5, 0.3, 0.2, 0, 0], [0.2] * 5]
    )
    expect_groups(
        diverse_beam_search(model, 3, 4, 4, 2, groups=2, diversity=1.0),
        [
            [([3, 0, 0], math.log(0.30)), ([3, 1, 0], math.log(0.27))],
            [([3, 0, 1], math.log(0.20)), ([3, 2, 2], math.log(0.10))],
        ],
        what="two groups of two beams",
        hint="a token that two beams took costs 2 x diversity; the penalty decides which children stay, and the sums that "
        "go into the next step hold log-probabilities alone",
    )


def test_one_beam_may_have_all_the_children_of_its_group():
    """Worked: the two best children, 0.6 x 0.5 and 0.6 x 0.4, are both of the first beam; the second's best is 0.14."""
    model = markov([[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]])
    expect_groups(
        diverse_beam_search(model, 0, 3, 4, 2, groups=2, diversity=0.0),
        [[([0, 1, 0], math.log(0.30)), ([0, 1, 1], math.log(0.24))]] * 2,
        what="two groups where one beam has both of the best children",
        hint="rank the children of all beams of a group in one list: no beam has a share of places that is its own",
    )


@pytest.mark.parametrize("vocab", [2, 3])
def test_wide_groups_equal_brute_force_at_any_strength(rng, vocab):
    """With room for every prefix nothing is pruned, so a penalty that only chooses has nothing to choose."""
    model, everything = recurrent(rng, vocab), vocab**3
    expect_groups(
        diverse_beam_search(model, 0, 1, 2 * everything, 3, groups=2, diversity=0.7),
        [every_hypothesis(model, vocab, 1, 3)] * 2,
        what="two groups that hold everything",
        hint="finished and, at max_length, unfinished hypotheses compete by their unpenalised scores in each group",
    )


def test_without_strength_all_groups_search_alike(rng):
    """Strength 0 is `groups` times the same beam search of beam_width // groups beams."""
    for _ in range(3):
        model = recurrent(rng, 6)
        alone = diverse_beam_search(model, 0, 1, 3, 5, groups=1, diversity=0.0)
        expect_groups(
            diverse_beam_search(model, 0, 1, 9, 5, groups=3, diversity=0.0),
            alone * 3,
            what="three groups without diversity",
            hint="a group has beam_width // groups beams of its own, which compete among themselves only",
        )


@pytest.mark.parametrize("width", [1, 2])
def test_a_huge_strength_gives_different_first_tokens(rng, width):
    """In the first step no group can afford a token that another one has."""
    model = recurrent(rng, 9, banned=[1])
    found = diverse_beam_search(model, 0, 1, 3 * width, 4, groups=3, diversity=100.0)
    firsts = [{tokens[1] for tokens, _ in group} for group in found]
    distinct = len(set().union(*firsts)) == sum(map(len, firsts))
    hint = "count what every earlier group takes in this step, not only group 0 or the one just before"
    expect(distinct, f"the groups' first tokens should be pairwise different, but are {firsts}", hint=hint)


def test_the_first_group_is_never_penalised(rng):
    """Group 0 is the plain beam search, whatever the strength."""
    model = recurrent(rng, 6, banned=[1])
    plain = diverse_beam_search(model, 0, 1, 2, 5, groups=1, diversity=0.0)
    expect_groups(
        diverse_beam_search(model, 0, 1, 6, 5, groups=3, diversity=3.0)[:1],
        plain,
        what="a search at diversity=3, compared with one plain group",
        hint="only earlier groups of the same step count: for group 0 there is none",
    )
