"""What any right top-k sampler does. Tokens are never compared under a fixed seed: only supports and distributions."""

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
from katas.top_k_sampling import sample_top_k, top_k_filter

N = 4000
INF = float("inf")


def shuffled(rng, *shape):
    """Distinct logits 0.5 apart, in another order in every row: what to keep is beyond doubt, and nothing is sorted."""
    return torch.rand(*shape, generator=rng, dtype=torch.float64).argsort(-1).double() / 2 - 1


def kept(filtered):
    return filtered > -INF


def softmax_over(logits, tokens, temperature=1.0):
    """The distribution on `tokens` that the definition asks for, written out for one row."""
    weights = torch.zeros_like(logits)
    weights[tokens] = (logits[tokens] / temperature).exp()
    return weights / weights.sum()


# Stage 1: one distribution


@pytest.mark.stage(1)
def test_the_filter_keeps_the_k_largest_logits():
    """A worked example, unsorted: the 3 largest of [2, -1, 5, 0, 3] are 5, 3 and 2."""
    logits = torch.tensor([2.0, -1.0, 5.0, 0.0, 3.0], dtype=torch.float64)
    want = torch.tensor([2.0, -INF, 5.0, -INF, 3.0], dtype=torch.float64)
    expect_close(
        top_k_filter(logits, 3),
        want,
        what="top_k_filter([2, -1, 5, 0, 3], k=3)",
        hint="keep exactly the 3 largest where they stand and set the others to -inf, not to 0 and not to a large number",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_exactly_k_of_distinct_logits_are_kept(rng, k):
    """`<=` in place of `<`, or sorting the wrong way, is an off-by-one that a single k can hide."""
    filtered = top_k_filter(shuffled(rng, 9), k)
    expect_equal(
        int(kept(filtered).sum()),
        k,
        what=f"the number of tokens kept at k={k}",
        hint="drop what is strictly below the k-th largest",
    )


@pytest.mark.stage(1)
def test_only_the_top_k_tokens_are_sampled(rng):
    """The test that a sampler which ignores top_k must fail: on flat logits every other token would turn up."""
    logits = shuffled(rng, 12) / 20
    tokens = sample_top_k(logits.expand(N, -1), 4)
    allowed = set(logits.argsort(descending=True)[:4].tolist())
    expect_equal(
        set(tokens.tolist()),
        allowed,
        what=f"the set of tokens among {N} draws with k=4",
        hint="is k used at all? does the sample map back from its rank among the top k to the token's id?",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_kept_tokens_follow_their_softmax(rng, temperature):
    """Among the kept tokens the ratios are those of softmax(logits / T). Chi-square, N = 4000: 1e-6 false alarms."""
    logits = shuffled(rng, 10)
    top = logits.argsort(descending=True)[:5]
    expect_distribution(
        sample_top_k(logits.expand(N, -1), 5, temperature),
        softmax_over(logits, top, temperature),
        what=f"tokens drawn with k=5, T={temperature}",
        hint="divide the kept logits by T, then one softmax: not a softmax of probabilities, not T times the logits",
    )


@pytest.mark.stage(1)
def test_the_default_temperature_is_one(rng):
    """T = 1 is the model's own distribution. Chi-square, N = 4000: 1e-6 false alarms."""
    logits = shuffled(rng, 6)
    expect_distribution(
        sample_top_k(logits.expand(N, -1), 3),
        softmax_over(logits, logits.argsort(descending=True)[:3]),
        what="tokens drawn with k=3 and no temperature given",
        hint="temperature defaults to 1.0",
    )


# Stage 2: batches, ties, limits


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(7,), (3, 7), (7, 7), (2, 3, 7)], ids=str)
def test_each_row_has_its_own_top_k(rng, shape):
    """Any leading dimensions. At batch == vocab a lost `keepdim` broadcasts silently along the wrong axis."""
    logits = shuffled(rng, *shape) + 10 * randn(rng, *shape[:-1], 1)  # rows at very different heights
    filtered = top_k_filter(logits, 3)
    expect_equal(
        list(filtered.shape), list(shape), what="the filtered shape", hint="the filter keeps the vocabulary's width"
    )
    rows = logits.reshape(-1, 7)
    for number, row in enumerate(filtered.reshape(-1, 7)):
        want = sorted(rows[number].argsort(descending=True)[:3].tolist())
        expect_equal(
            kept(row).nonzero().flatten().tolist(),
            want,
            what=f"the tokens kept in row {number}",
            hint="each row has a threshold of its own: keep its dimension (values[..., -1:]) and work along the last axis",
        )


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (6, 6), (2, 3, 6), (3, 1, 6)], ids=str)
def test_one_token_is_drawn_for_each_row(rng, shape):
    """The result has the batch's shape, is int64, and each row's token is among that row's own top k."""
    logits = shuffled(rng, *shape)
    allowed = logits.argsort(-1, descending=True)[..., :2]
    for _ in range(20):
        tokens = sample_top_k(logits, 2)
        expect_equal(tokens.dtype, torch.int64, what="the tokens' dtype")
        expect_equal(
            list(tokens.shape),
            list(shape[:-1]),
            what="the tokens' shape",
            hint="one token a row: squeeze(-1), the sample's axis; a batch of one row keeps its axis",
        )
        expect(
            (tokens[..., None] == allowed).any(-1).all(),
            f"each row should draw from its own two best tokens {allowed.tolist()}, but drew {tokens.tolist()}",
            hint="gather the token ids row by row with the ranks that were drawn",
        )


@pytest.mark.stage(2)
def test_draws_are_fresh_for_each_row_and_call(rng):
    """64 equal rows: that all agree, or that two calls agree everywhere, has probability under 1e-18."""
    logits = shuffled(rng, 8).mul(0).expand(64, -1)
    first, second = sample_top_k(logits, 8), sample_top_k(logits, 8)
    expect(
        first.unique().numel() > 1,
        "64 equal rows should draw different tokens, but all drew the same one",
        hint="one draw for each row",
    )
    expect(
        not torch.equal(first, second),
        "two calls should draw afresh, but gave the same 64 tokens",
        hint="do not seed anything yourself",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("k", [5, 6, 1000])
def test_k_beyond_the_vocabulary_filters_nothing(rng, k):
    """`topk` raises when k exceeds the vocabulary: clamp it. Then this is plain sampling."""
    logits = shuffled(rng, 3, 5)
    expect_close(
        top_k_filter(logits, k), logits, what=f"top_k_filter with k={k} and 5 tokens", hint="clamp k to the vocabulary"
    )
    expect_distribution(
        sample_top_k(logits[0].expand(N, -1), k),
        logits[0].softmax(-1),
        what=f"tokens drawn with k={k} of 5",
        hint="clamp k to the vocabulary",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("temperature", [0.01, 100.0])
def test_low_and_high_temperatures_are_taken_as_they_are(rng, temperature):
    """A temperature clamped to [0.1, 10] 'for safety' is another distribution. Chi-square, N = 4000: 1e-6 false alarms."""
    scaled = shuffled(rng, 10)
    expect_distribution(
        sample_top_k((scaled * temperature).expand(N, -1), 5, temperature),
        softmax_over(scaled, scaled.argsort(descending=True)[:5]),
        what=f"tokens drawn with k=5, T={temperature}, from logits that have been multiplied by T",
        hint="divide by the temperature that is given; only 0 is a case of its own",
    )


@pytest.mark.stage(2)
def test_k_of_one_is_the_argmax(rng):
    """With one token left there is nothing to draw, at any temperature."""
    logits = shuffled(rng, 50, 9)
    expect_close(
        sample_top_k(logits, 1, 5.0), logits.argmax(-1), what="sample_top_k(k=1)", hint="k=1 keeps only the best token"
    )


@pytest.mark.stage(2)
def test_ties_at_the_threshold_may_all_stay_or_not():
    """Both conventions are used in the field; what is larger must stay and what is smaller must go in either."""
    filtered = top_k_filter(torch.tensor([2.0, 5.0, 2.0, 0.0, 2.0], dtype=torch.float64), 2)
    mask = kept(filtered).tolist()
    expect(mask[1], "5 is above the second largest of [2, 5, 2, 0, 2] and should be kept, but was dropped")
    expect(not mask[3], "0 is below the second largest of [2, 5, 2, 0, 2] and should be dropped, but was kept")
    expect(
        2 <= sum(mask) <= 4,
        f"of [2, 5, 2, 0, 2] with k=2 between 2 and 4 should stay, but {sum(mask)} did",
        hint="never fewer than k",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_an_error(k):
    """k = 0 means 'off' in some libraries and nothing here: an empty set has no softmax."""
    logits = torch.zeros(2, 4)
    with expect_raises(ValueError, what=f"top_k_filter(k={k})"):
        top_k_filter(logits, k)
    with expect_raises(ValueError, what=f"sample_top_k(k={k})"):
        sample_top_k(logits, k)
    with expect_raises(
        ValueError, what=f"sample_top_k(k={k}, temperature=0)", hint="check k before the greedy shortcut"
    ):
        sample_top_k(logits, k, 0.0)


@pytest.mark.stage(2)
@pytest.mark.parametrize("temperature", [-1.0, -1e-9, float("nan")])
def test_a_negative_temperature_is_an_error(temperature):
    """A negative T prefers the worst tokens, and NaN fails every comparison: `T < 0` alone lets it through."""
    with expect_raises(
        ValueError, what=f"sample_top_k(temperature={temperature})", hint="`not temperature >= 0` also catches NaN"
    ):
        sample_top_k(torch.zeros(2, 4), 2, temperature)


@pytest.mark.stage(2)
def test_temperature_zero_is_greedy_and_takes_the_lowest_of_equals():
    """Division by zero gives NaN; a tiny T instead of 0 draws among equals. Greedy decoding must be reproducible."""
    logits = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    want = torch.tensor([1, 0])
    for _ in range(10):
        expect_equal(sample_top_k(logits, 3, 0.0), want, what="sample_top_k(temperature=0)", hint="T=0: argmax")
    expect_equal(
        sample_top_k(logits[0], 3, 0.0),
        want[0],
        what="sample_top_k(temperature=0) of one row",
        hint="argmax over the last axis",
    )
    expect_equal(
        sample_top_k(logits.expand(3, 2, 4), 3, 0.0),
        want.expand(3, 2),
        what="sample_top_k(temperature=0) of [3, 2, 4]",
        hint="argmax over the last axis",
    )


# Stage 3: numerics, dtypes, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """The filter changes no value, so it is exact in any dtype; the sampler must not need float64 either."""
    logits = shuffled(rng, 4, 9).to(dtype)
    filtered = top_k_filter(logits, 4)
    expect_equal(filtered.dtype, dtype, what="the filtered dtype", hint="do not convert the logits")
    expect_equal(
        filtered[kept(filtered)],
        logits[kept(filtered)],
        what="the kept logits",
        hint="kept logits are copied, not recomputed",
    )
    expect_equal(kept(filtered).sum(-1), torch.full((4,), 4), what=f"tokens kept per row in {dtype}")
    row = logits[0]
    expect_distribution(
        sample_top_k(row.expand(N, -1), 3),
        softmax_over(row.double(), row.double().argsort(descending=True)[:3]),
        what=f"tokens drawn from {dtype} logits",
    )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(rng, dtype, height):
    """exp(3e4) overflows in any dtype. Only differences matter: logits shifted by a constant mean the same."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0, 0.0])).to(dtype)
    tokens = sample_top_k(logits.expand(300, -1), 4)
    expect_equal(
        set(tokens.tolist()),
        {0, 2, 4},
        what=f"the tokens drawn from logits around {height:g}",
        hint="softmax subtracts the maximum; a handwritten exp does not, and a finite mask value such as -1e4 can be the largest of all",
    )
    cool = sample_top_k(logits.expand(300, -1), 4, 1e-3)
    expect_equal(
        set(cool.tolist()),
        {0, 2, 4},
        what="the tokens drawn at T=0.001",
        hint="subtract the maximum before dividing by T",
    )


@pytest.mark.stage(3)
def test_banned_tokens_stay_banned(rng):
    """A row that already holds -inf (a grammar, a blocked n-gram) may have fewer than k candidates."""
    logits = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF, -INF], [3.0, -4.0, 1.0, -5.0, 2.0, -6.0]], dtype=torch.float64)
    want = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF, -INF], [3.0, -4.0, 1.0, -INF, 2.0, -INF]], dtype=torch.float64)
    expect_close(
        top_k_filter(logits, 4), want, what="top_k_filter of a row with -inf", hint="-inf in gives -inf out, never NaN"
    )
    tokens = sample_top_k(logits[0].expand(500, -1), 4)
    expect_equal(
        set(tokens.tolist()),
        {1, 3},
        what="the tokens drawn",
        hint="a token at -inf has probability 0 even among the top k",
    )
    expect_equal(
        set(sample_top_k(logits[0].expand(500, -1), 4, 1e6).tolist()),
        {1, 3},
        what="the tokens drawn at T=1e6, where the allowed ones are equally likely",
        hint="keep -inf: a large finite number in its place, divided by a large T, is a probability again",
    )


@pytest.mark.stage(3)
def test_a_row_of_negative_logits_is_no_special_case(rng):
    """Masking with 0, or initialising a maximum at 0, goes unnoticed until every logit is negative."""
    logits = shuffled(rng, 8) - 50
    expect_distribution(
        sample_top_k(logits.expand(N, -1), 3),
        softmax_over(logits + 50, logits.argsort(descending=True)[:3]),
        what="tokens drawn from negative logits",
        hint="dropped logits become -inf; a dropped logit of 0 would beat all others here",
    )


@pytest.mark.stage(3)
def test_the_logits_are_not_modified(rng):
    """The caller still needs them, for the log-probability of what was drawn."""
    logits = shuffled(rng, 3, 8)
    with expect_unchanged(logits, what="logits"):
        top_k_filter(logits, 2)
        sample_top_k(logits, 2, 0.7)
        sample_top_k(logits, 2, 0.0)
        filtered = top_k_filter(logits, 100)
        filtered.fill_(0.0)  # a new tensor, also when nothing is filtered


@pytest.mark.stage(3)
def test_logits_may_require_a_gradient(rng):
    """Policy gradients draw from the filtered distribution and differentiate its log-probabilities: a kept logit gets
    the gradient 1 of its copy, a dropped one 0. Where logits tie, nothing is tested."""
    logits = shuffled(rng, 3, 8).requires_grad_()
    filtered = top_k_filter(logits, 2)
    hint = "no detach(), .data or no_grad in the filter"
    expect(filtered.requires_grad, "top_k_filter should be differentiable, but its result has no graph", hint=hint)
    mask = kept(filtered.detach())
    filtered[mask].sum().backward()
    expect_close(logits.grad, mask.double(), what="the gradient of the kept logits' sum", hint=hint)
    tokens = sample_top_k(logits, 1)
    expect_equal(tokens, logits.argmax(-1), what="sample_top_k(k=1) of logits that require a gradient")


@pytest.mark.stage(3)
def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = shuffled(rng, 5, 4, 6)
    base = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    expect_close(
        top_k_filter(base, 2),
        top_k_filter(dense, 2),
        what="top_k_filter of a transposed view",
        hint="reshape, not view",
    )
    tokens = sample_top_k(base, 1)
    expect_equal(tokens, dense.argmax(-1), what="sample_top_k(k=1) of a transposed view", hint="reshape, not view")


@pytest.mark.stage(3)
def test_the_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    logits = shuffled(rng, 64, 8) / 10

    def with_seed(number):
        return sample_top_k(logits, 6, generator=torch.Generator().manual_seed(number))

    with expect_rng_untouched(what="sample_top_k with a generator"):
        first = with_seed(1)
        torch.rand(3, generator=rng)
        second = with_seed(1)
    expect_equal(
        second, first, what="the tokens of an equally seeded generator", hint="pass `generator` on to what draws"
    )
    expect(
        not torch.equal(with_seed(2), first),
        "another seed should draw other tokens, but gave the same 64",
        hint="is `generator` used?",
    )
    generator = torch.Generator().manual_seed(1)
    sample_top_k(logits, 6, generator=generator)
    again = sample_top_k(logits, 6, generator=generator)
    expect(
        not torch.equal(again, first),
        "the next call with the same generator should draw afresh",
        hint="do not re-seed it",
    )


# Stage 4: cost


@pytest.mark.stage(4)
def test_sampling_reads_the_vocabulary_about_once(rng, cost):
    """One topk pass over [8, 128256] costs 1.0x the bytes of the logits, and the rest works on k numbers a row.
    Filtering first, then softmax and multinomial over the whole vocabulary costs 9.5x and more."""
    logits = torch.rand(8, 128256, generator=rng)
    with cost() as spent:
        sample_top_k(logits, 50, 0.8)
    ratio = spent.bytes / logits.nbytes
    expect(
        ratio >= 1,
        f"the work should be done by torch operators, but they saw only {ratio:.2f}x the logits' bytes",
        hint="use torch.topk",
    )
    expect(
        ratio <= 4,
        f"sampling from [8, 128256] logits should move at most 4x their bytes, but moved {ratio:.1f}x ({dict(spent.calls.most_common(6))})",
        hint="take the k best logits first; softmax and draw among those k, then map back to token ids",
    )


@pytest.mark.stage(4)
def test_the_batch_is_processed_at_once(rng, cost):
    """A python loop over rows launches operators in proportion to the batch; on a GPU the launches are the cost."""
    counts = []
    for batch in (4, 64):
        logits = torch.rand(batch, 50, generator=rng)
        with cost() as spent:
            top_k_filter(logits, 5)
            sample_top_k(logits, 5)
        counts.append(spent.operators)
    expect(counts[0] > 0, "the work should be done by torch operators, but none was seen")
    expect(
        counts[1] <= counts[0],
        f"64 rows should take as many operators as 4 rows ({counts[0]}), but took {counts[1]}",
        hint="topk, softmax, multinomial and gather all take a batch",
    )
