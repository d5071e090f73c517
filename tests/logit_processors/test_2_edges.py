"""Stage 2. The filters at their limits, one row through the chain, bad values."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, numbers, randn
from katas.logit_processors import SamplingParams, min_p_filter, process_logits, typical_filter

from .helpers import INF, LOGITS, NEAREST, expect_logits, expect_typical, kept, only, processed


@pytest.mark.parametrize("shape", [(7,), (3, 7), (7, 7), (2, 3, 7)], ids=str)
def test_the_filters_take_each_row_by_itself(rng, shape):
    """Sure and unsure rows side by side: thresholds, entropies and masses belong to a row."""
    sharpness = torch.logspace(-0.5, 0.7, math.prod(shape[:-1]), dtype=torch.float64).reshape(*shape[:-1], 1)
    logits = randn(rng, *shape) * sharpness + 10 * randn(rng, *shape[:-1], 1)
    want = logits.where(logits >= logits.amax(-1, keepdim=True) + math.log(0.4), -torch.inf)
    hint = "reduce along the last dimension, with keepdim=True"
    expect_close(min_p_filter(logits, 0.4), want, what=f"min_p_filter of {list(shape)} logits", hint=hint)
    filtered = typical_filter(logits, 0.6)
    expect_logits(filtered, logits, what=f"typical_filter of {list(shape)} logits")
    for row, result in zip(logits.reshape(-1, 7), filtered.reshape(-1, 7), strict=True):
        expect_typical(row, result, 0.6)


def test_min_p_at_its_limits():
    """0 keeps everything, also what has no probability left; 1 keeps the best token and its equals."""
    logits = numbers(2, 5, -2000, 5, 4.75)
    expect_equal(min_p_filter(logits, 0.0), logits, what="min_p_filter(min_p=0)", hint="p >= 0 holds for every token")
    best = only(logits, [1, 3])
    expect_equal(min_p_filter(logits, 1), best, what="min_p_filter([2, 5, -2000, 5, 4.75], min_p=1)", hint="p >= max p")


def test_typical_at_its_limits(rng):
    """A mass of 1 needs all tokens. Where one token is sure, it is the typical one, and the set is never empty."""
    logits = torch.rand(3, 9, generator=rng, dtype=torch.float64)
    expect_close(typical_filter(logits, 1.0), logits, what="typical_filter(mass=1)", hint=NEAREST)
    expect_close(typical_filter(logits, 1), logits, what="typical_filter(mass=1)", hint="a mass of 1 is allowed")
    sure = numbers(0, 40, 0, 1)
    for mass in (1e-6, 0.2, 0.99):
        what = f"typical_filter([0, 40, 0, 1], mass={mass})"
        expect_close(typical_filter(sure, mass), only(sure, [1]), what=what, hint=NEAREST)


@pytest.mark.parametrize("mass", [0.3, 0.55])
def test_equally_typical_tokens_may_all_stay_or_just_enough(mass):
    """In a uniform row all distances tie: ceil(mass * vocab) tokens are enough, and libraries keep all."""
    tokens = kept(typical_filter(torch.zeros(10, dtype=torch.float64), mass))
    enough = math.ceil(mass * 10)
    sentence = f"of 10 equal tokens, {enough} to 10 should be kept at mass={mass}, but {len(tokens)} were"
    expect(enough <= len(tokens), sentence, hint=NEAREST)


def test_the_penalty_in_the_chain():
    """Prompt and generated tokens count alike, and once each: token 0 stands three times, tokens 1 and 2 once, tokens 3 and 4 nowhere."""
    expect_close(
        processed(numbers(8, -2, 4, 5, -1), [0, 1, 0], [2, 0], repetition_penalty=2.0),
        numbers(4, -4, 2, 5, -1),
        what="the logits [8, -2, 4, 5, -1] after prompt [0, 1, 0], generated [2, 0], repetition_penalty=2",
        hint="divide positive logits and multiply negative ones, once for each token of prompt or generated",
    )
    expect_close(
        processed(numbers(8, -2, 4), [0, 1], [], repetition_penalty=0.5),
        numbers(16, -1, 4),
        what="the logits [8, -2, 4] after prompt [0, 1], repetition_penalty=0.5",
        hint="only a penalty of 1 is off; below 1, it favours repetition",
    )


def test_the_bias_comes_after_the_penalty():
    """Token 0: 1 / 2 - 3 = -2.5. Bias first would give -2, and the penalty then doubles it. Token 2 was not seen."""
    expect_close(
        processed(numbers(1, 4, 2, 6), [0, 1], [], repetition_penalty=2.0, bias={0: -3.0, 2: 1.5}),
        numbers(-2.5, 2, 3.5, 6),
        what="the logits [1, 4, 2, 6] after prompt [0, 1], repetition_penalty=2, bias={0: -3, 2: 1.5}",
        hint="penalty, then bias; a bias is added to the logit of its token",
    )


def test_a_ban_is_final():
    """-inf, whatever the bias says, and before the filters: the places in the top k go to tokens that may be drawn."""
    logits = numbers(5, 4, 3, 2)
    what = "the logits [5, 4, 3, 2] with banned={0, 3}"
    expect_close(processed(logits, banned=frozenset({0, 3})), only(logits, [1, 2]), what=what, hint="banned is -inf")
    result = processed(logits, banned=frozenset({0}), bias={0: 50.0})
    hint = "a finite number, however low, can be biased back; -inf cannot"
    expect_close(result, only(logits, [1, 2, 3]), what="the logits with banned={0}, bias={0: 50}", hint=hint)
    result = processed(logits, banned=frozenset({0}), top_k=2)
    hint = "bans come before top-k, so that k of the other tokens are left"
    expect_close(result, only(logits, [1, 2]), what="the logits with banned={0}, top_k=2", hint=hint)
    result = processed(logits, banned=frozenset({0}), min_p=0.5)
    hint = "the best token is the best that is not banned: bans come before min-p"
    expect_close(result, only(logits, [1]), what="the logits with banned={0}, min_p=0.5", hint=hint)


@pytest.mark.parametrize(("new", "allowed"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_eos_waits_for_the_minimum_of_new_tokens(new, allowed):
    """min_new_tokens=3, with a prompt of five: the token being drawn may be eos when three were generated before it."""
    logits = numbers(5, 4, 3)
    result = processed(logits, [1, 2, 1, 2, 1], [2] * new, eos_token=0, min_new_tokens=3)
    what = f"the logits [5, 4, 3] with eos_token=0, min_new_tokens=3, {new} tokens generated after a prompt of 5"
    hint = "eos is -inf while len(generated) < min_new_tokens; the prompt does not count"
    expect_close(result, logits if allowed else only(logits, [1, 2]), what=what, hint=hint)


def test_no_eos_token_means_no_minimum():
    """Some models have none; None is not token 0."""
    logits = numbers(5, 4, 3)
    expect_close(processed(logits, min_new_tokens=3), logits, what="the logits with eos_token=None, min_new_tokens=3")
    expect_close(processed(logits, eos_token=1), logits, what="the logits with eos_token=1, min_new_tokens=0")


def test_temperature_divides_the_penalised_and_biased_logits():
    """(6 / 2 + 1) / 4 = 1. A bias that is added after the temperature weighs T times as much."""
    expect_close(
        processed(numbers(6, -2, 3), [0, 1], [], temperature=4.0, repetition_penalty=2.0, bias={0: 1.0}),
        numbers(1, -1, 0.75),
        what="the logits [6, -2, 3], prompt [0, 1], repetition_penalty=2, bias={0: 1}, temperature=4",
        hint="penalty, bias, then z / T, once",
    )


# Each is told apart from the order that it names: what one step leaves is what the next one measures.
ORDERS = [
    ("top-k alone", {"top_k": 2}, [1, 3]),
    ("top-k alone", {"top_k": 1}, [1]),
    ("top-k beyond the vocabulary", {"top_k": 9}, [0, 1, 2, 3]),
    ("top-p alone", {"top_p": 0.6}, [1, 3]),
    ("top-p alone", {"top_p": 0.9}, [0, 1, 3]),
    ("min-p alone", {"min_p": 0.5}, [1, 3]),
    ("typical alone", {"typical_p": 0.2}, [3]),
    ("temperature before top-p", {"temperature": 2.0, "top_p": 0.7}, [0, 1, 3]),
    ("temperature before top-p", {"temperature": 0.5, "top_p": 0.6}, [1]),
    ("temperature before min-p", {"temperature": 2.0, "min_p": 0.5}, [0, 1, 3]),
    ("temperature before min-p", {"temperature": 0.5, "min_p": 0.5}, [1]),
    ("temperature before typical", {"temperature": 2.0, "typical_p": 0.45}, [0, 3]),
    ("top-k before top-p", {"top_k": 2, "top_p": 0.6}, [1]),
    ("top-k before typical", {"top_k": 2, "typical_p": 0.5}, [1]),
    ("top-p before min-p", {"top_p": 0.6, "min_p": 0.5}, [1, 3]),
    ("top-p before typical", {"top_p": 0.7, "typical_p": 0.5}, [1]),
    ("min-p before typical", {"min_p": 0.5, "typical_p": 0.5}, [1]),
]


@pytest.mark.parametrize(("order", "params", "tokens"), ORDERS, ids=[f"{o} {p}" for o, p, _ in ORDERS])
def test_the_order_of_the_filters(order, params, tokens):
    """Probabilities [0.15, 0.5, 0.05, 0.3] in each case; at T = 2 they are [0.21, 0.38, 0.12, 0.29]."""
    expect_close(
        processed(LOGITS, **params),
        only(LOGITS / params.get("temperature", 1.0), tokens),
        what=f"3 + log [0.15, 0.5, 0.05, 0.3] with {params}",
        hint=f"{order}: each step sees the distribution that the steps before have left, summing to 1 again",
    )


@pytest.mark.parametrize("temperature", [0.3, 1.5, 4.0])
def test_min_p_at_a_temperature_is_a_distance_of_t_log_min_p(rng, temperature):
    """z / T >= max z / T + log min_p. So a high temperature lets more through, and how much is known."""
    for logits in 2 * randn(rng, 6, 12):
        inside = logits >= logits.max() + temperature * math.log(0.2)
        expect_close(
            processed(logits, temperature=temperature, min_p=0.2),
            (logits / temperature).where(inside, -torch.inf),
            what=f"a random row at T={temperature}, min_p=0.2",
            hint="z / T first; min-p then keeps z >= max z + T log min_p",
        )


def test_temperature_zero_leaves_the_best_of_what_is_allowed():
    """Greedy decoding respects penalties, biases and bans, and the lowest index wins among equals. Its logit stays as it is."""
    logits = numbers(5, 8, 7, 7)
    hint = "T = 0 needs a path of its own: all but the argmax of the penalised, biased and banned logits is -inf"
    for params, want in (
        ({}, only(logits, [1])),
        ({"banned": frozenset({1})}, only(logits, [2])),
        ({"eos_token": 1, "min_new_tokens": 5}, only(logits, [2])),
        ({"bias": {0: 4.0}}, numbers(9, -INF, -INF, -INF)),
        ({"repetition_penalty": 2.0}, only(logits, [2])),
        ({"top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.5}, only(logits, [1])),
    ):
        result = processed(logits, [1], [1], temperature=0.0, **params)
        expect_equal(result, want, what=f"the logits [5, 8, 7, 7] at T=0, prompt [1], with {params}", hint=hint)


def test_tokens_that_no_step_uses_are_not_looked_at():
    """Without a penalty nobody reads the prompt, which may be padded with -100; nor eos, once enough tokens were generated."""
    logits = numbers(5, 4, 3)
    for prompt, generated, params in (([-100, 9], [-1], {}), ([0], [1], {"eos_token": 9, "min_new_tokens": 1})):
        what = f"the logits [5, 4, 3] of 3 tokens, prompt {prompt}, generated {generated}, with {params}"
        expect_close(processed(logits, prompt, generated, **params), logits, what=what, hint="check what a step uses")


def test_bans_that_leave_nothing_are_an_error():
    """A row of -inf would become NaN in the softmax, in another file and without a name."""
    one = frozenset({0, 1, 2, 3}), numbers(1, 2, 3, 4)
    for banned, logits in (one, (frozenset({0, 2}), numbers(1, -INF, 3, -INF))):
        with expect_raises(ValueError, what=f"process_logits({logits.tolist()}, banned={set(banned)})"):
            processed(logits, banned=banned)
    with expect_raises(ValueError, what="process_logits([1, 2, 3, 4], banned={1, 2, 3}, eos 0 not yet allowed)"):
        processed(numbers(1, 2, 3, 4), banned=frozenset({1, 2, 3}), eos_token=0, min_new_tokens=1)
    params = [SamplingParams(), SamplingParams(banned=one[0])]
    what = "process_logits of two rows, all tokens of the second one banned"
    with expect_raises(ValueError, what=what, hint="one empty row is enough, whatever the others have left"):
        process_logits(torch.zeros(2, 4), [[], []], [[], []], params)


@pytest.mark.parametrize("lengths", [(3, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 3), (3, 3, 3)], ids=str)
def test_lists_of_another_length_than_the_batch_are_an_error(lengths):
    """A request that is lost on the way shifts everybody else's parameters."""
    prompts, generated, params = lengths
    what = f"process_logits of 2 rows with {prompts} prompts, {generated} generated lists, {params} params"
    with expect_raises(ValueError, what=what, hint="compare all three with the batch; zip stops at the shortest"):
        process_logits(torch.zeros(2, 4), prompts * [[0]], generated * [[1]], params * [SamplingParams()])


@pytest.mark.parametrize("token", [4, -1])
@pytest.mark.parametrize("where", ["prompt", "generated", "bias", "banned", "eos_token"])
def test_a_token_outside_the_vocabulary_is_an_error(where, token):
    """-1 is the last token to an index, and a token too far raises an IndexError (on a GPU, it kills the process)."""
    given = {"bias": {token: 1.0}, "banned": frozenset({token}), "eos_token": token}
    params = {where: given[where]} if where in given else {"repetition_penalty": 1.5}
    prompt, generated = ([token] if where == name else [0] for name in ("prompt", "generated"))
    with expect_raises(
        ValueError, what=f"process_logits of 4 tokens with token {token} in {where}", hint="0 <= t < vocab"
    ):
        processed(torch.zeros(4), prompt, generated, min_new_tokens=9, **params)


@pytest.mark.parametrize("value", [-0.1, 1.001, float("nan")])
def test_a_value_outside_its_range_is_an_error(value):
    """A min_p of 5 for 5 % would drop everything, and NaN fails every comparison."""
    with expect_raises(ValueError, what=f"min_p_filter(min_p={value})", hint="`not 0 <= min_p <= 1` also catches NaN"):
        min_p_filter(torch.zeros(2, 4), value)
    with expect_raises(ValueError, what=f"typical_filter(mass={value})", hint="`not 0 < mass <= 1` also catches NaN"):
        typical_filter(torch.zeros(2, 4), value)
    with expect_raises(ValueError, what="typical_filter(mass=0)", hint="no mass is not 'off'"):
        typical_filter(torch.zeros(2, 4), 0.0)
