"""What any right top-p sampler does. Tokens are never compared under a fixed seed: only supports and distributions.
Every p is far from the masses that it is compared with, unless the test says that both answers are right."""

import math

import pytest
import torch

from dojo.testing import (
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randn,
)
from katas.top_p_sampling import sample_top_p, top_p_filter

N = 4000
INF = float("inf")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15], dtype=torch.float64)  # unsorted
NUCLEI = [(0.25, [1]), (0.6, [1, 3]), (0.78, [1, 3, 4]), (0.92, [0, 1, 3, 4]), (0.98, [0, 1, 2, 3, 4])]
CROSSING = "sort descending; a token is in while the mass *before* it is below p, so the one that crosses p is in"


def kept(filtered):
    """The tokens of one row that were not dropped."""
    return (filtered > -INF).nonzero().flatten().tolist()


def only(probs, tokens):
    """`probs` on these tokens alone, summing to 1."""
    chosen = torch.zeros_like(probs)
    chosen[tokens] = probs[tokens]
    return chosen / chosen.sum()


def expect_nucleus(logits, filtered, p):
    """The definition, for one row of distinct logits: an upper set, of mass >= p, that no member can leave."""
    inside = filtered > -INF
    probs = logits.softmax(-1)
    expect(inside.any(), f"something should be kept at p={p}, but every logit is -inf", hint=CROSSING)
    least = probs[inside].min()
    mass = probs[inside].sum()
    expect(
        not (~inside & (probs > least)).any(),
        f"at p={p} a token of probability {least:.4f} was kept, and a more probable one dropped",
        hint="carry the mask back from sorted order to the tokens' own (scatter along the sort's indices)",
    )
    expect(mass >= p - 1e-6, f"the kept mass should be at least p={p}, but is {mass:.6f}", hint=CROSSING)
    expect(
        mass - least < p + 1e-6,
        f"at p={p} the kept mass {mass:.6f} would still be enough without the least probable kept token ({least:.6f})",
        hint="the *smallest* set: stop as soon as p is reached",
    )


# Stage 1: one distribution


@pytest.mark.stage(1)
@pytest.mark.parametrize(("p", "tokens"), NUCLEI)
def test_a_worked_example(p, tokens):
    """Probabilities [0.1, 0.4, 0.05, 0.3, 0.15], from the top: masses 0.4, 0.7, 0.85, 0.95, 1."""
    logits = PROBS.log() + 3
    want = torch.full_like(logits, -INF)
    want[tokens] = logits[tokens]
    expect_close(
        top_p_filter(logits, p),
        want,
        what=f"top_p_filter(3 + log [0.1, 0.4, 0.05, 0.3, 0.15], p={p})",
        hint=f"{CROSSING}; carry the mask back to the tokens' own order; kept logits stay as they are, dropped ones are -inf",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.77, 0.9, 0.99])
def test_the_nucleus_is_the_smallest_set_of_mass_p(rng, p):
    """The definition itself, on 40 random rows: enough mass, not one token more, the most probable ones."""
    for logits in 2 * randn(rng, 40, 12):
        expect_nucleus(logits, top_p_filter(logits, p), p)


@pytest.mark.stage(1)
@pytest.mark.parametrize(("p", "tokens"), NUCLEI)
def test_tokens_follow_their_softmax_inside_the_nucleus(p, tokens):
    """No other token is ever drawn, and inside the ratios are the model's. Chi-square, N = 4000: 1e-6 false alarms."""
    expect_distribution(
        sample_top_p(PROBS.log().expand(N, -1), p),
        only(PROBS, tokens),
        what=f"tokens drawn with p={p} from [0.1, 0.4, 0.05, 0.3, 0.15]",
        hint="draw inside the nucleus with the softmax of the kept logits, and map ranks back to tokens",
    )


# Stage 2: batches, limits, temperature and top-k


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(7,), (3, 7), (7, 7), (2, 3, 7)], ids=str)
def test_each_row_has_its_own_nucleus(rng, shape):
    """Sure and unsure rows side by side keep different numbers of tokens: that is the point of top-p."""
    sharpness = torch.logspace(-1, 1, math.prod(shape[:-1]), dtype=torch.float64).reshape(*shape[:-1], 1)
    logits = randn(rng, *shape) * sharpness + 10 * randn(rng, *shape[:-1], 1)
    filtered = top_p_filter(logits, 0.8)
    expect_equal(list(filtered.shape), list(shape), what="the filtered shape")
    for row, result in zip(logits.reshape(-1, 7), filtered.reshape(-1, 7), strict=True):
        expect_nucleus(row, result, 0.8)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_draws_are_fresh_for_each_row_and_call():
    """64 equal rows of 8 equal tokens: that all agree, or that two calls agree everywhere, has probability under 1e-50."""
    flat = torch.zeros(64, 8)
    first, second = sample_top_p(flat, 1.0), sample_top_p(flat, 1.0)
    expect(first.unique().numel() > 1, "64 equal rows should draw different tokens, but all drew the same one")
    expect(not torch.equal(first, second), "two calls should draw afresh, but gave the same 64 tokens")


@pytest.mark.stage(2)
@pytest.mark.parametrize("p", [1e-12, 1e-3, 0.3])
def test_the_nucleus_is_never_empty(p):
    """The first token alone exceeds p: it crosses p, so it stays. A mask that drops it leaves only -inf, and NaN follows."""
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 2.0, 4.0]], dtype=torch.float64)
    want = torch.tensor([[-INF, 3.0, -INF], [5.0, -INF, -INF]], dtype=torch.float64)
    expect_close(top_p_filter(logits, p), want, what=f"top_p_filter(p={p})", hint=CROSSING)
    expect_equal(sample_top_p(logits, p), torch.tensor([1, 0]), what=f"sample_top_p(p={p})", hint=CROSSING)


@pytest.mark.stage(2)
def test_p_of_one_filters_nothing(rng):
    """All tokens are needed for a mass of 1. The least probable here has more than 1e-3, far above any rounding."""
    logits = torch.rand(3, 9, generator=rng, dtype=torch.float64)
    expect_close(top_p_filter(logits, 1.0), logits, what="top_p_filter(p=1)", hint=CROSSING)
    expect_close(top_p_filter(logits, 1), logits, what="top_p_filter(p=1)", hint="p = 1 is allowed")
    expect_distribution(
        sample_top_p(logits[0].expand(N, -1), 1.0), logits[0].softmax(-1), what="tokens drawn with p=1", hint=CROSSING
    )


@pytest.mark.stage(2)
def test_ties_at_the_edge_may_all_stay_or_not():
    """[0.4, 0.2, 0.2, 0.2] at p = 0.5: one 0.2 is enough; thresholds keep all three. The 0.4 stays in any case."""
    logits = torch.tensor([0.2, 0.4, 0.2, 0.2], dtype=torch.float64).log()
    tokens = kept(top_p_filter(logits, 0.5))
    expect(1 in tokens, f"the most probable token, 1, should be kept, but tokens {tokens} were", hint=CROSSING)
    expect(len(tokens) >= 2, f"a mass of 0.5 needs at least 2 tokens, but {len(tokens)} was kept", hint=CROSSING)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_temperature_zero_is_greedy_and_takes_the_lowest_of_equals():
    """Division by zero gives NaN; a tiny T instead of 0 draws among equals. Greedy decoding must be reproducible."""
    logits = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    want, hint = torch.tensor([1, 0]), "T=0: argmax over the last axis"
    for _ in range(10):
        expect_equal(sample_top_p(logits, 1.0, 0.0), want, what="sample_top_p(temperature=0)", hint=hint)
    expect_equal(sample_top_p(logits[0], 1.0, 0, 3), want[0], what="sample_top_p(temperature=0) of one row", hint=hint)
    expect_equal(sample_top_p(logits.expand(3, 2, 4), 0.9, 0.0), want.expand(3, 2), what="T=0, [3, 2, 4]", hint=hint)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_bad_temperatures_and_top_k_are_errors():
    """A negative T prefers the worst tokens, NaN fails every comparison, and k = 0 leaves nothing to draw from."""
    for temperature in (-1.0, -1e-9, float("nan")):
        with expect_raises(ValueError, what=f"sample_top_p(temperature={temperature})", hint="`not temperature >= 0`"):
            sample_top_p(torch.zeros(2, 4), 0.9, temperature)
    for top_k in (0, -1):
        with expect_raises(ValueError, what=f"sample_top_p(top_k={top_k})", hint="None is no top-k; 0 is an error"):
            sample_top_p(torch.zeros(2, 4), 0.9, 1.0, top_k)


# Stage 3: numerics, dtypes, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_floating_dtype_works(dtype):
    """The filter changes no value, so it is exact in any dtype. Masses stay at least 0.05 away from p."""
    logits = torch.stack([PROBS.log(), PROBS.flip(0).log() + 2]).to(dtype)
    filtered = top_p_filter(logits, 0.78)
    expect_equal(filtered.dtype, dtype, what="the filtered dtype", hint="do not convert the logits")
    want = torch.full_like(logits, -INF)
    want[0, [1, 3, 4]], want[1, [3, 1, 0]] = logits[0, [1, 3, 4]], logits[1, [3, 1, 0]]
    expect_equal(filtered, want, what="the filtered logits", hint="kept logits are copied, not recomputed")
    expect_distribution(
        sample_top_p(logits[0].expand(N, -1), 0.78),
        only(logits[0].double().softmax(-1), [1, 3, 4]),
        what=f"tokens drawn from {dtype} logits",
    )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(dtype, height):
    """exp(3e4) overflows in any dtype, and 3e4 / T in float16. Three equal tokens hold all the mass; p = 0.9 needs them."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0, 0.0])).to(dtype)
    what = f"{dtype} logits around {height:g}"
    hint = (
        "only differences matter: subtract each row's maximum before anything can overflow (softmax does, exp does not)"
    )
    expect_equal(kept(top_p_filter(logits, 0.9)), [0, 2, 4], what=f"the nucleus of {what}, p=0.9", hint=hint)
    for temperature in (1.0, 1e-3):
        tokens = sample_top_p(logits.expand(300, -1), 0.9, temperature)
        expect_equal(set(tokens.tolist()), {0, 2, 4}, what=f"tokens drawn from {what}, T={temperature}", hint=hint)


@pytest.mark.stage(3)
def test_banned_tokens_stay_banned():
    """A row that already holds -inf has fewer candidates: top-k may reach into the banned ones, and no draw ever does."""
    logits = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF], [3.0, 2.9, 1.0, -5.0, 2.8]], dtype=torch.float64)
    want = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF], [3.0, 2.9, -INF, -INF, 2.8]], dtype=torch.float64)
    hint = "-inf in gives -inf out, never NaN"
    expect_close(top_p_filter(logits, 0.85), want, what="top_p_filter of a row with -inf, p=0.85", hint=hint)
    for top_k in (None, 4):
        tokens = sample_top_p(logits[0].expand(500, -1), 1.0, 1.0, top_k)
        expect_equal(set(tokens.tolist()), {1, 3}, what=f"the tokens drawn with top_k={top_k}, p=1", hint=hint)


@pytest.mark.stage(3)
def test_the_logits_are_not_modified(rng):
    """The caller still needs them, for the log-probability of what was drawn."""
    logits = randn(rng, 3, 8)
    with expect_unchanged(logits, what="logits"):
        top_p_filter(logits, 0.5)
        sample_top_p(logits, 0.5, 0.7, 3)
        sample_top_p(logits, 0.5, 1.0)
        top_p_filter(logits, 1.0).fill_(0.0)  # a new tensor, also when nothing is filtered


@pytest.mark.stage(3)
def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = torch.rand(5, 4, 6, generator=rng, dtype=torch.float64).argsort(-1).double()
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    expect_close(top_p_filter(view, 0.9), top_p_filter(dense, 0.9), what="top_p_filter of a transpose", hint="reshape")
    expect_equal(
        sample_top_p(view, 0.5), dense.argmax(-1), what="sample_top_p of a transpose", hint="reshape, not view"
    )


@pytest.mark.stage(3)
def test_the_generator_is_the_only_source_of_randomness():
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    flat = torch.zeros(64, 8)
    with expect_rng_untouched(what="sample_top_p with a generator"):
        first = sample_top_p(flat, 1.0, generator=torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(1)
        second, third = sample_top_p(flat, 1.0, generator=generator), sample_top_p(flat, 1.0, generator=generator)
        other = sample_top_p(flat, 1.0, generator=torch.Generator().manual_seed(2))
    expect_equal(second, first, what="the tokens of an equally seeded generator", hint="pass `generator` on")
    expect(not torch.equal(other, first), "another seed should draw other tokens, but gave the same 64")
    expect(
        not torch.equal(third, second),
        "the next call with the same generator should draw afresh, but gave the same 64 tokens",
        hint="do not re-seed it, and do not work on a copy of it",
    )


# Stage 4: cost


@pytest.mark.stage(4)
def test_the_batch_and_the_vocabulary_are_processed_at_once(rng, cost):
    """A python loop over rows, or one that adds tokens until p is reached, launches operators in proportion: 16 times
    as many here. Three times as many are let pass, for a fallback that only some rows need."""
    for name, function in (("top_p_filter", top_p_filter), ("sample_top_p", sample_top_p)):
        counts = []
        for batch, vocab in ((4, 20), (64, 20), (4, 320)):
            logits = torch.rand(batch, vocab, generator=rng)
            with cost() as spent:
                function(logits, 0.9)
            counts.append(spent.operators)
        expect(counts[0] > 0, f"the work of {name} should be done by torch operators, but none was seen")
        expect(
            max(counts) <= 3 * counts[0],
            f"{name} should take about as many operators for [64, 20] and [4, 320] as for [4, 20] ({counts[0]}), but took {counts[1]} and {counts[2]}",
            hint="sort, cumsum, scatter, multinomial and gather all take a batch",
        )


@pytest.mark.stage(4)
def test_work_grows_with_the_vocabulary_not_with_its_square(rng, cost):
    """Sorting, and half a dozen passes, cost some 20x the bytes of the logits (some hundred by bisection); comparing
    every token with every other one costs 4096x and more here, and at 128 256 tokens does not fit at all."""
    logits = torch.rand(4, 4096, generator=rng)
    for name, function in (("top_p_filter", top_p_filter), ("sample_top_p", sample_top_p)):
        with cost() as spent:
            function(logits, 0.9)
        ratio = spent.bytes / logits.nbytes
        expect(
            1 <= ratio <= 500,
            f"{name} of [4, 4096] logits should move between 1x and 500x their bytes, but moved {ratio:.1f}x ({dict(spent.calls.most_common(6))})",
            hint="one sort and a cumulative sum; no [vocab, vocab] comparison",
        )
