"""Stage 3. Numerics, dtypes, generators."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    called_for,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_graph,
    expect_seeded,
    expect_unchanged,
)
from katas.top_k_sampling import sample_top_k, top_k_filter

from .helpers import INF, N, kept, shuffled, softmax_over


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
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


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(rng, dtype, height):
    """exp(3e4) overflows in any dtype. Only differences matter: logits shifted by a constant mean the same."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0, 0.0])).to(dtype)
    hints = {
        1.0: "softmax subtracts the maximum; a handwritten exp does not, and a finite mask value such as -1e4 can be the "
        "largest of all",
        1e-3: "subtract the maximum, or widen to float32, before you divide by T. Most published samplers fail here: the "
        "logits of real models stay below 100, so 3e4 / T never meets float16's largest number, 65504",
    }
    for temperature, hint in hints.items():
        given = f"{dtype} logits around {height:g} at T={temperature:g}"
        with called_for(given, hint=hint):
            tokens = sample_top_k(logits.expand(300, -1), 4, temperature)
        expect_equal(set(tokens.tolist()), {0, 2, 4}, what=f"the tokens drawn from {given}", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_banned_tokens_stay_banned(dtype):
    """A row that already holds -inf (a grammar, a blocked n-gram) may have fewer than k candidates."""
    logits = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF, -INF], [3.0, -4.0, 1.0, -5.0, 2.0, -6.0]], dtype=dtype)
    want = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF, -INF], [3.0, -4.0, 1.0, -INF, 2.0, -INF]], dtype=dtype)
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


def test_a_row_of_negative_logits_is_no_special_case(rng):
    """Masking with 0, or initialising a maximum at 0, goes unnoticed until every logit is negative."""
    logits = shuffled(rng, 8) - 50
    expect_distribution(
        sample_top_k(logits.expand(N, -1), 3),
        softmax_over(logits + 50, logits.argsort(descending=True)[:3]),
        what="tokens drawn from negative logits",
        hint="dropped logits become -inf; a dropped logit of 0 would beat all others here",
    )


def test_the_logits_are_not_modified(rng):
    """The caller still needs them, for the log-probability of what was drawn."""
    logits = shuffled(rng, 3, 8)
    with expect_unchanged(logits, what="logits"):
        top_k_filter(logits, 2)
        sample_top_k(logits, 2, 0.7)
        sample_top_k(logits, 2, 0.0)
        filtered = top_k_filter(logits, 100)
        filtered.fill_(0.0)  # a new tensor, also when nothing is filtered


def test_logits_may_require_a_gradient(rng):
    """Policy gradients draw from the filtered distribution and differentiate its log-probabilities: a kept logit gets
    the gradient 1 of its copy, a dropped one 0. Where logits tie, nothing is tested."""
    logits = shuffled(rng, 3, 8).requires_grad_()
    filtered = top_k_filter(logits, 2)
    hint = "no detach(), .data or no_grad in the filter"
    expect_graph(filtered, what="top_k_filter", hint=hint)
    mask = kept(filtered.detach())
    filtered[mask].sum().backward()
    expect_close(logits.grad, mask.double(), what="the gradient of the kept logits' sum", hint=hint)
    tokens = sample_top_k(logits, 1)
    expect_equal(tokens, logits.argmax(-1), what="sample_top_k(k=1) of logits that require a gradient")


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


def test_the_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    logits = shuffled(rng, 64, 8) / 10
    expect_seeded(lambda generator: sample_top_k(logits, 6, generator=generator), what="sample_top_k of 64 rows")
