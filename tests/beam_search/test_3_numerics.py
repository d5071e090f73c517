"""Stage 3. Banned tokens, half precision."""

import math

import pytest
import torch

from dojo.testing import FLOATS, expect_equal
from dojo.testing.decoding import every_hypothesis, expect_score, markov
from katas.beam_search import beam_search, beam_search_with_cache

from .helpers import INF, Recurrent, expect_list


def test_a_banned_token_is_never_generated():
    """-inf means impossible, also when fewer candidates than beams are left."""
    model = markov([[0.0, 0.6, 0.4], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expect_list(
        beam_search(model, 0, 2, beam_width=4, max_length=3),
        [([0, 1, 2], math.log(0.6)), ([0, 2], math.log(0.4))],
        what="a search where only two hypotheses are possible",
        hint="drop candidates whose sum is -inf; when nothing runs any more, stop",
    )


def test_the_list_without_eos_is_the_best_sequences(rng):
    """A fixed-length search: eos is impossible, so every hypothesis has max_length tokens."""
    model = Recurrent(rng, 4)

    def without_eos(tokens):
        return model.full(tokens).index_fill(1, torch.tensor([1]), -INF)

    expect_list(
        beam_search(without_eos, 0, 1, 64, 3),
        every_hypothesis(without_eos, 4, 1, 3),
        what="all sequences of length 3",
        hint="without eos nothing finishes early: the running hypotheses are the result",
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sums_are_wider_than_half_precision(rng, dtype):
    """40 log-probabilities of about -2 reach -80, where bfloat16 has steps of 0.5 and float16 of 0.06."""
    model = Recurrent(rng, 8, dtype)

    def endless(last, cache):
        log_probs, cache = model.step(last, cache)
        return log_probs.index_fill(1, torch.tensor([1]), -INF), cache

    best = beam_search_with_cache(endless, 0, 1, 3, 40)[0]
    cache, total = None, 0.0
    for last, token in zip(best.tokens[:-1], best.tokens[1:], strict=True):
        log_probs, cache = endless(torch.tensor([last]), cache)
        total += float(log_probs[0, token])
    hint = "convert the log-probabilities to float32 or float64 before you add them up"
    expect_score(best.score, total, what=f"the score of 40 {dtype} log-probabilities", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sums_without_a_cache_are_wide_too(dtype):
    """40 times log 0.7 is -14.3; in bfloat16 a running sum of that size has steps of 0.06, in float16 of 0.008."""
    table = torch.tensor([[0.3, 0.7, 0.0]] * 3, dtype=torch.float64).log().to(dtype)
    best = beam_search(lambda tokens: table[tokens[:, -1]], 0, 2, 1, 40)[0]
    hint = "convert the log-probabilities to float32 or float64 before you add them up"
    expect_score(best.score, 40 * table[0, 1].item(), what=f"the score of 40 {dtype} log-probabilities", hint=hint)


def test_results_are_plain_python(rng):
    """Hypotheses go into JSON and into dict keys: no tensors."""
    best = beam_search(Recurrent(rng, 4).full, 0, 1, 3, 4)[0]
    expect_equal({type(token) for token in best.tokens}, {int}, what="the types of the tokens", hint="use .tolist()")
    expect_equal(type(best.score), float, what="the type of the score", hint="use .item() or .tolist()")
