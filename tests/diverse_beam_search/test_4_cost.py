"""Stage 4. Cost."""

import math

import torch

from dojo.testing import expect, expect_equal
from dojo.testing.decoding import counting, markov
from katas.diverse_beam_search import diverse_beam_search

from .helpers import expect_groups, recurrent


def test_the_model_is_called_once_per_step_for_all_groups(rng):
    """The groups only choose one after the other; what they choose from can be computed in one batch."""
    counted, shapes = counting(recurrent(rng, 9, banned=[1]))
    diverse_beam_search(counted, 0, 1, 6, 5, groups=3, diversity=0.5)
    expect_equal(
        [length for _, length in shapes],
        [1, 2, 3, 4, 5],
        what="the lengths of the prefixes, call by call",
        hint="put the beams of all groups into one batch and split the result",
    )
    rows = [n for n, _ in shapes]
    expect(1 <= min(rows) and max(rows) <= 6, f"each call should have 1 to 6 rows at beam_width=6, but they had {rows}")


def test_the_search_stops_when_nothing_can_change():
    """eos has 0.9 after every token: the lists are settled after a few steps. Going on to max_length=50 finds the same."""
    counted, calls = counting(markov([[0.06, 0.9, 0.04]] * 3))
    found = diverse_beam_search(counted, 0, 1, 4, 50, groups=2, diversity=0.0)
    expected = [([0, 1], math.log(0.9)), ([0, 0, 1], math.log(0.054))]
    expect_groups(found, [expected] * 2, what="a search that ends early", hint="set eos hypotheses aside")
    hint = "a group is done once its list is full and its worst score is at least what its best running sum can become"
    expect(len(calls) <= 5, f"at most 5 steps should be needed, but the model was called {len(calls)} times", hint=hint)
    found = diverse_beam_search(counted, 0, 1, 2, 50, groups=2, diversity=0.0, length_penalty=-1.0)
    expect_groups(
        found, [expected[:1]] * 2, what="two groups of one beam at length_penalty=-1", hint="0.9 at once wins"
    )


def test_a_hypothesis_that_has_just_finished_runs_no_more():
    """After two steps [2, 1, eos] with -1.0 and [2, eos] with -5.0 fill each list, and what runs has -9.1 at best."""
    table = torch.tensor([[-1.0, -1.0, -1.0], [-0.9, -20.0, -30.0], [-5.0, -0.1, -9.0]])
    hint = "compare the worst of the list with the best running sum: an eos that was chosen in this step runs no more"
    counted, calls = counting(lambda tokens: table[tokens[:, -1]])
    found = diverse_beam_search(counted, 2, 0, 4, 6, groups=2, diversity=0.0)
    expected = [([2, 1, 0], -1.0), ([2, 0], -5.0)]
    expect_groups(found, [expected] * 2, what="a search that is settled after two steps", hint=hint)
    expect_equal(len(calls), 2, what="the number of calls of log_probs_fn", hint=hint)
