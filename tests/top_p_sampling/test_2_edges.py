"""Stage 2. Batches, limits, temperature and top-k."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_distribution, expect_equal, expect_raises, randn
from katas.top_p_sampling import sample_top_p, top_p_filter

from .helpers import CROSSING, INF, PROBS, N, expect_nucleus, kept, only


@pytest.mark.parametrize("shape", [(7,), (3, 7), (7, 7), (2, 3, 7)], ids=str)
def test_each_row_has_its_own_nucleus(rng, shape):
    """Sure and unsure rows side by side keep different numbers of tokens: that is the point of top-p."""
    sharpness = torch.logspace(-1, 1, math.prod(shape[:-1]), dtype=torch.float64).reshape(*shape[:-1], 1)
    logits = randn(rng, *shape) * sharpness + 10 * randn(rng, *shape[:-1], 1)
    filtered = top_p_filter(logits, 0.8)
    expect_equal(list(filtered.shape), list(shape), what="the filtered shape")
    for row, result in zip(logits.reshape(-1, 7), filtered.reshape(-1, 7), strict=True):
        expect_nucleus(row, result, 0.8)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (6, 6), (2, 3, 6)], ids=str)
def test_one_token_is_drawn_for_each_row(rng, shape):
    """The result has the batch's shape, is int64, and each row's token is in that row's own nucleus, here two tokens."""
    ranks = torch.rand(*shape, generator=rng).argsort(-1)
    logits = torch.where(ranks < 2, 5.0, -ranks.double())  # two tokens share 99.6 % of the mass
    for _ in range(20):
        tokens = sample_top_p(logits, 0.9)
        expect_equal(tokens.dtype, torch.int64, what="the tokens' dtype")
        expect_equal(list(tokens.shape), list(shape[:-1]), what="the tokens' shape", hint="one token a row")
        expect(
            (ranks.gather(-1, tokens[..., None]) < 2).all(),
            f"each row should draw one of its own two best tokens, but the rows drew {tokens.tolist()}",
            hint="gather the token ids row by row, with the ranks that were drawn",
        )


def test_draws_are_fresh_for_each_row_and_call():
    """64 equal rows of 8 equal tokens: that all agree, or that two calls agree everywhere, has probability under 1e-50."""
    flat = torch.zeros(64, 8)
    first, second = sample_top_p(flat, 1.0), sample_top_p(flat, 1.0)
    expect(first.unique().numel() > 1, "64 equal rows should draw different tokens, but all drew the same one")
    expect(not torch.equal(first, second), "two calls should draw afresh, but gave the same 64 tokens")


@pytest.mark.parametrize("p", [1e-12, 1e-3, 0.3])
def test_the_nucleus_is_never_empty(p):
    """The first token alone exceeds p: it crosses p, so it stays. A mask that drops it leaves only -inf, and NaN follows."""
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 2.0, 4.0]], dtype=torch.float64)
    want = torch.tensor([[-INF, 3.0, -INF], [5.0, -INF, -INF]], dtype=torch.float64)
    expect_close(top_p_filter(logits, p), want, what=f"top_p_filter(p={p})", hint=CROSSING)
    expect_equal(sample_top_p(logits, p), torch.tensor([1, 0]), what=f"sample_top_p(p={p})", hint=CROSSING)


def test_p_of_one_filters_nothing(rng):
    """All tokens are needed for a mass of 1. The least probable here has more than 1e-3, far above any rounding."""
    logits = torch.rand(3, 9, generator=rng, dtype=torch.float64)
    expect_close(top_p_filter(logits, 1.0), logits, what="top_p_filter(p=1)", hint=CROSSING)
    expect_close(top_p_filter(logits, 1), logits, what="top_p_filter(p=1)", hint="p = 1 is allowed")
    expect_distribution(
        sample_top_p(logits[0].expand(N, -1), 1.0), logits[0].softmax(-1), what="tokens drawn with p=1", hint=CROSSING
    )


def test_ties_at_the_edge_may_all_stay_or_not():
    """[0.4, 0.2, 0.2, 0.2] at p = 0.5: one 0.2 is enough; thresholds keep all three. The 0.4 stays in any case."""
    logits = torch.tensor([0.2, 0.4, 0.2, 0.2], dtype=torch.float64).log()
    tokens = kept(top_p_filter(logits, 0.5))
    expect(1 in tokens, f"the most probable token, 1, should be kept, but tokens {tokens} were", hint=CROSSING)
    expect(len(tokens) >= 2, f"a mass of 0.5 needs at least 2 tokens, but {len(tokens)} was kept", hint=CROSSING)


@pytest.mark.parametrize(("temperature", "p", "tokens"), [(2.0, 0.7, [0, 1, 2]), (0.5, 0.6, [0]), (1.0, 0.7, [0, 1])])
def test_temperature_comes_before_top_p(temperature, p, tokens):
    """[0.5, 0.3, 0.15, 0.05] at T = 2 has masses 0.38, 0.67, 0.88; at T = 1/2 they are 0.68, 0.93. A nucleus taken at
    T = 1 would be {0, 1} every time. Chi-square, N = 4000: 1e-6 false alarms."""
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    expect_distribution(
        sample_top_p(probs.log().expand(N, -1), p, temperature),
        only(probs ** (1 / temperature), tokens),
        what=f"tokens drawn with T={temperature}, p={p} from [0.5, 0.3, 0.15, 0.05]",
        hint="divide the logits by T first; the nucleus is that of softmax(logits / T)",
    )


@pytest.mark.parametrize(("top_k", "p", "tokens"), [(3, 0.75, [1, 3]), (3, 0.9, [1, 2, 3]), (2, 0.99, [1, 3])])
def test_top_k_comes_before_top_p(top_k, p, tokens):
    """[0.1, 0.4, 0.2, 0.25, 0.05] with k = 3 becomes [0.47, 0.29, 0.24] over the kept ones, and p = 0.75 keeps two. Top-p
    on the full distribution would have kept three. Chi-square, N = 4000: 1e-6 false alarms."""
    probs = torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05], dtype=torch.float64)
    expect_distribution(
        sample_top_p(probs.log().expand(N, -1), p, 1.0, top_k),
        only(probs, tokens),
        what=f"tokens drawn with top_k={top_k}, p={p} from [0.1, 0.4, 0.2, 0.25, 0.05]",
        hint="top-k first; then top-p on the softmax over what is left, which sums to 1 again",
    )


def test_top_k_at_its_limits():
    """k = 1 is greedy; k beyond the vocabulary and None are the same as no top-k. Chi-square: 1e-6 false alarms."""
    rows = PROBS.log().expand(N, -1)
    expect_equal(set(sample_top_p(rows, 1.0, 5.0, top_k=1).tolist()), {1}, what="the tokens drawn with top_k=1")
    for top_k in (5, 1000, None):
        expect_distribution(
            sample_top_p(rows, 0.92, top_k=top_k),
            only(PROBS, [0, 1, 3, 4]),
            what=f"tokens drawn with top_k={top_k} of 5, p=0.92",
            hint="clamp k to the vocabulary: topk raises beyond it",
        )


def test_temperature_zero_is_greedy_and_takes_the_lowest_of_equals():
    """Division by zero gives NaN; a tiny T instead of 0 draws among equals. Greedy decoding must be reproducible."""
    logits = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    want, hint = torch.tensor([1, 0]), "T=0: argmax over the last axis"
    for _ in range(10):
        expect_equal(sample_top_p(logits, 1.0, 0.0), want, what="sample_top_p(temperature=0)", hint=hint)
    expect_equal(sample_top_p(logits[0], 1.0, 0, 3), want[0], what="sample_top_p(temperature=0) of one row", hint=hint)
    expect_equal(sample_top_p(logits.expand(3, 2, 4), 0.9, 0.0), want.expand(3, 2), what="T=0, [3, 2, 4]", hint=hint)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.001, float("nan")])
def test_p_outside_its_range_is_an_error(p):
    """p = 0 means 'off' or 'greedy' in some libraries and nothing here; 90 for 90 % should not pass for 'everything'."""
    logits = torch.zeros(2, 4)
    with expect_raises(ValueError, what=f"top_p_filter(p={p})", hint="`not 0 < p <= 1` also catches NaN"):
        top_p_filter(logits, p)
    with expect_raises(ValueError, what=f"sample_top_p(p={p})", hint="`not 0 < p <= 1` also catches NaN"):
        sample_top_p(logits, p)
    with expect_raises(ValueError, what=f"sample_top_p(p={p}, temperature=0)", hint="check before the greedy shortcut"):
        sample_top_p(logits, p, 0.0)


def test_bad_temperatures_and_top_k_are_errors():
    """A negative T prefers the worst tokens, NaN fails every comparison, and k = 0 leaves nothing to draw from."""
    for temperature in (-1.0, -1e-9, float("nan")):
        with expect_raises(ValueError, what=f"sample_top_p(temperature={temperature})", hint="`not temperature >= 0`"):
            sample_top_p(torch.zeros(2, 4), 0.9, temperature)
    for top_k in (0, -1):
        with expect_raises(ValueError, what=f"sample_top_p(top_k={top_k})", hint="None is no top-k; 0 is an error"):
            sample_top_p(torch.zeros(2, 4), 0.9, 1.0, top_k)
