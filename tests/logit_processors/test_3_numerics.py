"""Stage 3. Rows with different parameters, -inf, dtypes."""

import copy

import pytest
import torch

from dojo.testing import FLOATS, HALVES, expect_close, expect_equal, expect_unchanged, numbers, randn, roundings
from katas.logit_processors import SamplingParams, min_p_filter, process_logits, typical_filter

from .helpers import INF, LOGITS, expect, expect_logits, only, processed

EVERYTHING = SamplingParams(0.7, 6, 0.9, 0.05, 0.8, 1.3, {0: 1.0, 3: -2.0}, frozenset({5}), 2, 4)
REQUESTS = [  # params, prompt, generated
    (SamplingParams(), [0, 1], [2]),
    (EVERYTHING, [7, 1, 1], [6, 4]),
    (SamplingParams(temperature=0.0, banned=frozenset({0, 1, 2})), [], []),
    (SamplingParams(top_k=3, bias={2: 4.0}), [3], []),
    (SamplingParams(temperature=2.0, top_p=0.7, eos_token=0, min_new_tokens=1), [2, 2, 2], []),
    (SamplingParams(min_p=0.3, repetition_penalty=2.0), [0, 1, 2, 3], [4]),
    (SamplingParams(typical_p=0.4, top_k=5, repetition_penalty=0.5), [5], [6, 7]),
    (SamplingParams(temperature=0.5, min_p=0.1, eos_token=0, min_new_tokens=1), [1], [1]),
    (SamplingParams(), [], []),
]


def together(logits, requests):
    lists = [list(r[1]) for r in requests], [list(r[2]) for r in requests], [r[0] for r in requests]
    result = process_logits(logits, *lists)
    expect_logits(result, logits, what=f"the result for {len(requests)} requests")
    return result


@pytest.mark.parametrize("turn", [0, 4])
def test_each_row_has_its_own_parameters(rng, turn):
    """What a request gets must not depend on who else is in the batch: a row in a batch gives what it gives alone."""
    requests = REQUESTS[turn:] + REQUESTS[:turn]
    logits = 2 * randn(rng, 9, 9)  # batch == vocab: an index along the wrong axis does not raise
    alone = torch.cat([together(logits[i : i + 1], requests[i : i + 1]) for i in range(9)])
    hint = "no row may use another one's parameters, prompt or generated tokens; turn parameters into columns, or group the rows"
    expect_close(together(logits, requests), alone, what="nine different requests, beside each alone", hint=hint)


def test_the_whole_chain_is_its_steps_in_order(rng):
    """Penalty and bias by hand, then your own filters: the chain computes nothing else."""
    for logits in 2 * randn(rng, 4, 8):
        logits = logits.index_fill(0, torch.tensor([5]), 9.0)
        result = processed(
            logits, [1], [5], temperature=0.7, min_p=0.02, typical_p=0.8, bias={1: 3.0}, banned=frozenset({5})
        )
        logits = (logits + 3 * (torch.arange(8) == 1)) / 0.7
        logits[5] = -INF
        want = typical_filter(min_p_filter(logits, 0.02), 0.8)
        what = "bias={1: 3}, banned={5}, T=0.7, min_p=0.02, typical_p=0.8, beside your own filters on these steps"
        expect_close(result, want, what=what, hint="bias, bans, temperature, min-p, typical, on one distribution")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_defaults_change_nothing_bit_for_bit(rng, dtype):
    """Also beside rows that use everything, and for logits of all sizes: a step that is off is not a step that keeps all."""
    logits = (10 * randn(rng, 9, 9)).to(dtype)
    logits[:, 8], logits[:, 7] = -INF, -3e4
    result = together(logits, REQUESTS)
    for row in (0, 8):
        expect_equal(result[row], logits[row], what=f"a row with default parameters in a {dtype} batch", hint="skip it")
    want, hint = logits[0], "temperature 1, top_k 0, top_p 1, min_p 0, typical_p 1 and penalty 1 are off"
    expect_equal(processed(logits[0]), want, what=f"a {dtype} row with default parameters", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_with_banned_tokens_have_an_entropy(dtype):
    """p log p is 0 * -inf = NaN for a token of probability 0; its limit is 0. Otherwise everything is dropped, or nothing."""
    logits = torch.cat([numbers(-INF), LOGITS, numbers(-INF)]).to(dtype)
    hint = "in the entropy count 0 where p is 0: torch.special.entr, nansum, or a mask; -inf stays -inf"
    for mass, tokens in ((0.2, [4]), (0.6, [2, 4]), (0.9, [1, 2, 4])):
        what = f"typical_filter(mass={mass}) of a {dtype} row with -inf"
        expect_close(typical_filter(logits, mass), only(logits, tokens), what=what, hint=hint)
    for min_p, tokens in ((0.5, [2, 4]), (0.2, [1, 2, 4]), (0.0, [1, 2, 3, 4])):
        what = f"min_p_filter(min_p={min_p}) of a {dtype} row with -inf"
        expect_close(min_p_filter(logits, min_p), only(logits, tokens), what=what, hint="-inf in gives -inf out")
    params = {
        "repetition_penalty": 2.0,
        "bias": {0: 5.0},
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.99,
        "min_p": 0.001,
    }
    result = processed(logits - 3, [0], [5], typical_p=0.999, **params)
    want = only(2 * (logits - 3), [1, 2, 4])
    expect_close(
        result[:1], want[:1], what="a banned token after penalty, bias and temperature", hint="-inf stays -inf"
    )
    slack = roundings(3, dtype, 8.0)
    expect_close(result[4:], want[4:], what=f"a {dtype} row with -inf at {params}", hint="-inf stays -inf", **slack)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(dtype):
    """The filters change no value. The chain divides: a few roundings are allowed, and which tokens stay is not in doubt."""
    logits = torch.tensor([[3.0, -2.0, 2.5, 1.0], [-1.0, 0.5, 4.0, 2.0]], dtype=dtype)
    requests = [(SamplingParams(2.0, min_p=0.3, repetition_penalty=1.5, bias={1: 0.25}), [0], [1])]
    requests += [(SamplingParams(0.75, 2, typical_p=0.98), [], [])]
    want = torch.tensor([[1.0, -INF, 1.25, 0.5], [-INF, -INF, 16 / 3, 8 / 3]], dtype=dtype)
    result = together(logits, requests)
    expect_close(result, want, what=f"{dtype} logits", hint="keep the dtype", **roundings(3, dtype, 6.0))
    expect_equal(min_p_filter(logits, 0.5)[0], only(logits[0], [0, 2]), what=f"min_p_filter of {dtype} logits")
    expect_equal(typical_filter(logits, 0.5)[0], only(logits[0], [0, 2]), what=f"typical_filter of {dtype} logits")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(dtype, height):
    """exp(3e4) overflows in any dtype. Three equal tokens hold all the mass, and are as typical as can be."""
    logits = (height + numbers(0, -256, 0, -512, 0)).to(dtype)
    want, what = only(logits, [0, 2, 4]), f"{dtype} logits around {height:g}"
    hint = "log_softmax, or the row's maximum subtracted before exp; exp of the logit itself overflows"
    expect_equal(min_p_filter(logits, 0.1), want, what=f"min_p_filter(0.1) of {what}", hint=hint)
    expect_equal(typical_filter(logits, 0.9), want, what=f"typical_filter(0.9) of {what}", hint=hint)
    params = {"top_p": 0.9, "min_p": 0.1, "typical_p": 0.9}
    expect_equal(processed(logits, **params), want, what=f"{what} with {params}", hint=hint)


@pytest.mark.parametrize(("dtype", "vocab"), [(torch.float16, 4090), (torch.bfloat16, 4090)], ids=str)
@pytest.mark.parametrize("of", ["typical_filter", "top_p", "typical_p"])
def test_masses_are_summed_in_float32_at_least(of, dtype, vocab):
    """The probability 1 / 4090 is rounded up in half precision, so that too few of the 4090 equal tokens seem to be enough."""
    logits = torch.zeros(vocab, dtype=dtype)
    result = typical_filter(logits, 0.9) if of == "typical_filter" else processed(logits, **{of: 0.9})
    mass = int((result > -INF).sum()) / vocab
    sentence = f"of {vocab} equal {dtype} tokens, {of}=0.9 should keep a mass of at least 0.9, but keeps {mass:.5f}"
    expect(mass >= 0.9 - 1e-4, sentence, hint="widen the logits to float32 before the softmax and the cumulative sum")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_small_min_p_is_not_rounded_to_zero(dtype):
    """float16 ends at 6e-8: there a probability of e^-25 and the threshold 1e-8 are both 0."""
    logits = numbers(0, -10, -25, dtype=dtype)
    hint = "compare in float32, or logits with max z + log min_p"
    what = f"min_p_filter([0, -10, -25], min_p=1e-8) in {dtype}"
    expect_equal(min_p_filter(logits, 1e-8), only(logits, [0, 1]), what=what, hint=hint)


def test_the_arguments_are_not_modified(rng):
    """The server keeps the raw logits for log-probabilities, and goes on appending to the lists."""
    logits = 2 * randn(rng, 9, 9)
    lists = [[list(r[1]) for r in REQUESTS], [list(r[2]) for r in REQUESTS], [r[0] for r in REQUESTS]]
    before = copy.deepcopy(lists)
    with expect_unchanged(logits, what="logits"):
        process_logits(logits, *lists)
        for row in (0, 5):
            process_logits(logits[row : row + 1], *[each[row : row + 1] for each in lists]).fill_(0.0)
        for keep in (0.0, 0.3):
            min_p_filter(logits, keep).fill_(0.0)  # a new tensor, also when nothing is filtered
        for mass in (0.5, 1.0):
            typical_filter(logits, mass).fill_(0.0)
    for name, old, new in zip(("prompts", "generated", "params"), before, lists, strict=True):
        expect(
            old == new, f"{name} should not be modified, but the call changed it", hint="`+=` extends a list in place"
        )


def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = 2 * randn(rng, 9, 9)
    view = dense.T.contiguous().T
    expect_close(min_p_filter(view, 0.3), min_p_filter(dense, 0.3), what="min_p_filter of a transpose", hint="reshape")
    expect_close(typical_filter(view, 0.7), typical_filter(dense, 0.7), what="typical_filter of a transpose")
    expect_close(together(view, REQUESTS), together(dense, REQUESTS), what="process_logits of a transpose")
