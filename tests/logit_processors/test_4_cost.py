"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect_flat_operators, expect_traffic, randint
from katas.logit_processors import SamplingParams, min_p_filter, process_logits, typical_filter

EVERYTHING = SamplingParams(0.7, 50, 0.9, 0.05, 0.8, 1.3, {0: 1.0, 3: -2.0}, frozenset({5}), 2, 4)


def chain(params, length=8):
    """process_logits with the same parameters and as many tokens in every row."""

    def call(logits):
        tokens = [list(range(length)) for _ in logits]
        return process_logits(logits, tokens, tokens, [params] * len(tokens))

    return call


CALLS = {
    "min_p_filter": lambda logits: min_p_filter(logits, 0.1),
    "typical_filter": lambda logits: typical_filter(logits, 0.9),
    "process_logits with every step": chain(EVERYTHING),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_batch_and_the_vocabulary_are_processed_at_once(rng, name):
    """A loop over rows, or over tokens of the vocabulary, launches operators in proportion; at 64 requests with the same
    parameters that is 64 times the time of a step. Gathering and scattering the few named tokens needs no loop either."""
    expect_flat_operators(
        CALLS[name],
        lambda size: [torch.rand(*size, generator=rng)],
        [(4, 100), (64, 100), (4, 1600)],
        what=name,
        hint="group rows with the same parameters, or make columns of them; index all (row, token) pairs at once",
    )


def test_a_step_that_is_off_costs_nothing(rng, cost):
    """By default there is nothing to do but a copy; some more are let pass. A softmax and a sort that keep everything cost 20
    copies, for each filter."""
    logits = torch.rand(4, 4096, generator=rng)
    with cost() as spent:
        chain(SamplingParams())(logits)
    hint = "do a step only where some row uses it"
    expect_traffic(spent, logits, 16, what="process_logits with default parameters", of="[4, 4096] logits", hint=hint)


def test_the_whole_chain_costs_some_sorts(rng, cost):
    """Three sorts and some passes cost about 100 times the bytes of the logits, and bisecting for a threshold some hundreds; comparing every token with every other one,
    or a one-hot tensor of the history, thousands."""
    logits = torch.rand(4, 4096, generator=rng)
    tokens = randint(rng, 0, 4096, 4, 1024).tolist()
    with cost() as spent:
        process_logits(logits, tokens, tokens, [EVERYTHING] * 4)
    hint = "sort and sum; no [vocab, vocab] comparison and no [length, vocab] one-hot"
    expect_traffic(spent, logits, 1000, what="process_logits with every step", of="[4, 4096] logits", hint=hint)
