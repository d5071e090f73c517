"""Stage 2. Batches, ties, limits."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_distribution, expect_equal, expect_raises, randn
from katas.top_k_sampling import sample_top_k, top_k_filter

from .helpers import N, kept, shuffled, softmax_over


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


def test_k_of_one_is_the_argmax(rng):
    """With one token left there is nothing to draw, at any temperature."""
    logits = shuffled(rng, 50, 9)
    expect_close(
        sample_top_k(logits, 1, 5.0), logits.argmax(-1), what="sample_top_k(k=1)", hint="k=1 keeps only the best token"
    )


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


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, float("nan")])
def test_a_negative_temperature_is_an_error(temperature):
    """A negative T prefers the worst tokens, and NaN fails every comparison: `T < 0` alone lets it through."""
    with expect_raises(
        ValueError, what=f"sample_top_k(temperature={temperature})", hint="`not temperature >= 0` also catches NaN"
    ):
        sample_top_k(torch.zeros(2, 4), 2, temperature)
