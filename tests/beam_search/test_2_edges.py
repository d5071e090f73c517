"""Stage 2. Length penalty, early ends, limits, bad values."""

import math

import pytest

from dojo.testing import expect_raises
from dojo.testing.decoding import every_hypothesis, markov
from katas.beam_search import beam_search, beam_search_with_cache

from .helpers import Recurrent, expect_list


def test_the_length_penalty_chooses_another_winner():
    """Worked: log 0.5 = -0.69 for eos at once; log(0.49 x 0.8) = -0.94 for two tokens, which is -0.47 a token."""
    model = markov([[0.15, 0.80, 0.05], [0.3, 0.3, 0.4], [0.49, 0.50, 0.01]])
    short, long = ([2, 1], math.log(0.5)), ([2, 0, 1], math.log(0.49 * 0.8))
    hint = "sum / (generated tokens) ** length_penalty: eos counts, the start token does not"
    expect_list(beam_search(model, 2, 1, 2, 6), [short, long], what="a search without penalty", hint=hint)
    halved = [(long[0], long[1] / 2), short]
    expect_list(beam_search(model, 2, 1, 2, 2, 1.0), halved, what="a search with length_penalty=1", hint=hint)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.5, -1.0])
def test_any_length_penalty_equals_brute_force(rng, penalty):
    """The penalty changes the order, never the sums; a negative one favours short hypotheses."""
    model = Recurrent(rng, 3)
    hint = "divide the whole sum once, by (generated tokens) ** length_penalty; keep adding to the undivided sum"
    expected = every_hypothesis(model.full, 3, 1, 4, penalty)
    what = f"all hypotheses at length_penalty={penalty}"
    expect_list(beam_search(model.full, 0, 1, 81, 4, penalty), expected, what=what, hint=hint)
    expect_list(beam_search_with_cache(model.step, 0, 1, 81, 4, penalty), expected, what=f"{what}, cached", hint=hint)


def test_enough_finished_hypotheses_are_no_reason_to_stop():
    """Two beams. After two steps [0, eos] = 0.3 and perhaps [0, 2, eos] = 0.18 are finished, but [0, 1, 3] = 0.35 runs on
    and ends with 0.3105 in first place."""
    model = markov(
        [
            [0.0, 0.5, 0.2, 0.0, 0.3],
            [0.0, 0.0, 0.0, 0.69, 0.31],
            [0.02, 0.03, 0.05, 0.0, 0.9],
            [0.02, 0.03, 0.04, 0.01, 0.9],
            [0.2] * 5,
        ]
    )
    expect_list(
        beam_search(model, 0, 4, 2, 6)[:1],
        [([0, 1, 3, 4], math.log(0.5 * 0.69 * 0.9))],
        what="the best of two beams",
        hint="stop when no running sum can still beat the worst of the list, not when beam_width hypotheses are finished",
    )


def test_a_running_hypothesis_may_still_grow_into_its_length():
    """At length_penalty=1, [0, 1, 3] has -1.14 a token after two steps, and can have no more than -0.76 after three, behind
    two finished ones with -0.70 and -0.73; but nearly certain tokens bring its mean up to -0.47 in the end."""
    model = markov(
        [
            [0.0, 0.27, 0.25, 0.0, 0.48],
            [0.12, 0.12, 0.36, 0.38, 0.02],
            [0.0, 0.01, 0.01, 0.0, 0.98],
            [0.005, 0.005, 0.005, 0.98, 0.005],
            [0.2] * 5,
        ]
    )
    expect_list(
        beam_search(model, 0, 4, 2, 5, 1.0)[:1],
        [([0, 1, 3, 3, 3, 3], (math.log(0.1026) + 3 * math.log(0.98)) / 5)],
        what="the best of two beams at length_penalty=1",
        hint="the best score a running hypothesis can reach is its sum / max_length ** penalty, not / its present "
        "length, nor / the next",
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
    expect_list(
        beam_search(model, 0, 4, 2, length, penalty),
        [([0, 4], math.log(first[4])), (tokens, score)],
        what=f"two beams at length_penalty={penalty:g}",
        hint="compare the worst of the list with the best score that a running hypothesis can reach: with a penalty of 0 or "
        "below a longer one only gets worse, so that is its score now",
    )


def test_unfinished_hypotheses_compete_at_max_length():
    """Worked: 0.7 x 0.9 = 0.63 without eos beats 0.25 and all else that has one."""
    model = markov([[0.9, 0.06, 0.04], [0.3, 0.3, 0.4], [0.70, 0.25, 0.05]])
    expect_list(
        beam_search(model, 2, 1, beam_width=2, max_length=2),
        [([2, 0, 0], math.log(0.63)), ([2, 1], math.log(0.25))],
        what="a search whose best hypothesis is unfinished",
        hint="add what still runs after max_length generated tokens to the finished ones, then sort",
    )


@pytest.mark.parametrize("width", [3, 4, 7])
def test_one_step_gives_the_best_tokens(rng, width):
    """max_length 1: the list is the vocabulary by probability, eos among the others; a width of 7 exceeds it."""
    model = Recurrent(rng, 4)
    expect_list(
        beam_search(model.full, 0, 1, width, 1),
        every_hypothesis(model.full, 4, 1, 1)[:width],
        what=f"one step of {width} beams over 4 tokens",
        hint="start from a single beam (the others would be copies of it), and ask for no more candidates than there are",
    )


def test_a_start_token_that_is_also_eos_finishes_nothing(rng):
    """BART starts its decoder with eos."""
    model = Recurrent(rng, 3)
    expect_list(
        beam_search(model.full, 1, 1, 27, 3),
        every_hypothesis(model.full, 3, 1, 3, start=1),
        what="a search with start_token == eos_token",
        hint="only a generated eos finishes a hypothesis",
    )


@pytest.mark.parametrize(
    "wrong", [{"beam_width": 0}, {"beam_width": -2}, {"max_length": 0}, {"max_length": -1}], ids=str
)
def test_bad_sizes_are_errors(wrong):
    """No beam and no step are no search."""
    arguments = {"beam_width": 2, "max_length": 3} | wrong
    model = markov([[0.5, 0.3, 0.2]] * 3)
    with expect_raises(ValueError, what=f"beam_search({wrong})"):
        beam_search(model, 0, 1, **arguments)
    with expect_raises(ValueError, what=f"beam_search_with_cache({wrong})"):
        beam_search_with_cache(lambda last, cache: (model(last[:, None]), last), 0, 1, **arguments)
