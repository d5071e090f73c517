"""Stage 1. One distribution."""

import pytest
import torch

from dojo.testing import expect_close, expect_distribution, expect_equal
from katas.top_k_sampling import sample_top_k, top_k_filter

from .helpers import INF, N, kept, shuffled, softmax_over


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


def test_the_default_temperature_is_one(rng):
    """T = 1 is the model's own distribution. Chi-square, N = 4000: 1e-6 false alarms."""
    logits = shuffled(rng, 6)
    expect_distribution(
        sample_top_k(logits.expand(N, -1), 3),
        softmax_over(logits, logits.argsort(descending=True)[:3]),
        what="tokens drawn with k=3 and no temperature given",
        hint="temperature defaults to 1.0",
    )
