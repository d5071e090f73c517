"""Stage 4. Cost."""

import math

import torch

from dojo.testing import expect, expect_equal
from dojo.testing.decoding import counting, markov
from katas.beam_search import beam_search, beam_search_with_cache

from .helpers import INF, Recurrent, expect_list


def test_the_model_is_called_once_per_step_for_all_beams(rng):
    """The model is what decoding costs: a call for each beam makes it beam_width times as slow."""
    model, steps = Recurrent(rng, 9), []
    full, shapes = counting(model.full)

    def step(last, cache):
        steps.append((len(last), cache is None))
        return model.step(last, cache)

    beam_search(full, 0, 1, 4, 6)
    beam_search_with_cache(step, 0, 1, 4, 6)
    lengths = [length for _, length in shapes]
    expect_equal(
        lengths,
        list(range(1, len(shapes) + 1)),
        what="the lengths of the prefixes, call by call",
        hint="one call per step, with all beams in one batch",
    )
    expect(len(shapes) <= 6 and len(steps) <= 6, f"6 steps need at most 6 calls, but took {len(shapes)}, {len(steps)}")
    rows = [n for n, _ in shapes] + [n for n, _ in steps]
    expect(1 <= min(rows) and max(rows) <= 4, f"each call should have 1 to 4 rows at beam_width=4, but they had {rows}")
    expect_equal(
        [first for _, first in steps],
        [True] + [False] * (len(steps) - 1),
        what="whether cache is None, call by call",
        hint="the first call gets None, and every later one the cache that the model returned",
    )


def test_the_search_stops_when_nothing_can_change():
    """eos has 0.9 after every token: after a few steps two hypotheses are finished and no sum can catch up. Running on to
    max_length=50 is right and costs ten times as much."""
    counted, calls = counting(markov([[0.06, 0.9, 0.04]] * 3))
    found = beam_search(counted, 0, 1, 2, 50)
    expect_list(
        found,
        [([0, 1], math.log(0.9)), ([0, 0, 1], math.log(0.054))],
        what="a search that ends early",
        hint="set eos hypotheses aside and keep the best",
    )
    hint = "stop once the list is full and its worst score is at least what the best running sum can become"
    expect(len(calls) <= 5, f"at most 5 steps should be needed, but the model was called {len(calls)} times", hint=hint)
    calls.clear()
    beam_search(lambda tokens: counted(tokens).masked_fill(torch.arange(3) != 1, -INF), 0, 1, 2, 50)
    hint = "when every hypothesis is finished, nothing is left to run"
    expect_equal(len(calls), 1, what="the number of calls when only eos is possible", hint=hint)


def test_a_hypothesis_that_has_just_finished_runs_no_more():
    """After two steps [2, 1, eos] with -1.0 and [2, eos] with -5.0 fill the list, and what runs has -9.1 at best."""
    table = torch.tensor([[-1.0, -1.0, -1.0], [-0.9, -20.0, -30.0], [-5.0, -0.1, -9.0]])
    hint = "compare the worst of the list with the best running sum: an eos that was chosen in this step runs no more"
    counted, calls = counting(lambda tokens: table[tokens[:, -1]])
    expected = [([2, 1, 0], -1.0), ([2, 0], -5.0)]
    what = "a search that is settled after two steps"
    expect_list(beam_search(counted, 2, 0, 2, 6), expected, what=what, hint=hint)
    expect_equal(len(calls), 2, what="the number of calls of log_probs_fn", hint=hint)
    calls.clear()
    found = beam_search_with_cache(lambda last, cache: (counted(last[:, None]), last), 2, 0, 2, 6)
    expect_list(found, expected, what=f"{what}, cached", hint=hint)
    expect_equal(len(calls), 2, what="the number of calls of step_fn", hint=hint)
