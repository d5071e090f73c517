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
    expect_seeded,
    expect_unchanged,
    randn,
)
from katas.top_p_sampling import sample_top_p, top_p_filter

from .helpers import INF, PROBS, N, kept, only


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
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


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(dtype, height):
    """exp(3e4) overflows in any dtype, and 3e4 / T in float16. Three equal tokens hold all the mass; p = 0.9 needs them."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0, 0.0])).to(dtype)
    what = f"{dtype} logits around {height:g}"
    hint = (
        "subtract each row's maximum, or widen to float32, before you divide by a small T (softmax subtracts it too, but "
        "after the division; exp does not). Most published samplers fail here: the logits of real models stay below 100, "
        "so 3e4 / T never meets float16's largest number, 65504"
    )
    expect_equal(kept(top_p_filter(logits, 0.9)), [0, 2, 4], what=f"the nucleus of {what}, p=0.9", hint=hint)
    for temperature in (1.0, 1e-3):
        with called_for(f"{what} at T={temperature:g}", hint=hint):
            tokens = sample_top_p(logits.expand(300, -1), 0.9, temperature)
        expect_equal(set(tokens.tolist()), {0, 2, 4}, what=f"tokens drawn from {what}, T={temperature}", hint=hint)


SMALL = [(p, dtype) for dtype in FLOATS for p in (1e-3, 1e-6, 1e-8) if torch.tensor(p, dtype=dtype) > 0]


@pytest.mark.parametrize(("p", "dtype"), SMALL, ids=str)
def test_the_nucleus_is_not_empty_where_one_minus_p_rounds_to_one(p, dtype):
    """1 - 1e-8 is 1 in float32, and so is 1 - 1e-3 in bfloat16. No cumulative sum is above 1."""
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 2.0, 4.0]], dtype=dtype)
    want = torch.tensor([[-INF, 3.0, -INF], [5.0, -INF, -INF]], dtype=dtype)
    hint = "keep the most probable token whatever p is; an ascending sum that is compared with 1 - p loses a small p"
    expect_equal(top_p_filter(logits, p), want, what=f"top_p_filter(p={p}) of {dtype} logits", hint=hint)
    tokens = sample_top_p(logits, p)
    expect_equal(tokens, torch.tensor([1, 0]), what=f"sample_top_p(p={p}) of {dtype} logits", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_banned_tokens_stay_banned(dtype):
    """A row that already holds -inf has fewer candidates: top-k may reach into the banned ones, and no draw ever does."""
    logits = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF], [3.0, 2.9, 1.0, -5.0, 2.8]], dtype=dtype)
    want = torch.tensor([[-INF, 1.0, -INF, 0.0, -INF], [3.0, 2.9, -INF, -INF, 2.8]], dtype=dtype)
    hint = "-inf in gives -inf out, never NaN"
    expect_close(top_p_filter(logits, 0.85), want, what="top_p_filter of a row with -inf, p=0.85", hint=hint)
    for top_k in (None, 4):
        tokens = sample_top_p(logits[0].expand(500, -1), 1.0, 1.0, top_k)
        expect_equal(set(tokens.tolist()), {1, 3}, what=f"the tokens drawn with top_k={top_k}, p=1", hint=hint)


def test_the_logits_are_not_modified(rng):
    """The caller still needs them, for the log-probability of what was drawn."""
    logits = randn(rng, 3, 8)
    with expect_unchanged(logits, what="logits"):
        top_p_filter(logits, 0.5)
        sample_top_p(logits, 0.5, 0.7, 3)
        sample_top_p(logits, 0.5, 1.0)
        top_p_filter(logits, 1.0).fill_(0.0)  # a new tensor, also when nothing is filtered


def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = torch.rand(5, 4, 6, generator=rng, dtype=torch.float64).argsort(-1).double()
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    expect_close(top_p_filter(view, 0.9), top_p_filter(dense, 0.9), what="top_p_filter of a transpose", hint="reshape")
    expect_equal(
        sample_top_p(view, 0.5), dense.argmax(-1), what="sample_top_p of a transpose", hint="reshape, not view"
    )


def test_the_generator_is_the_only_source_of_randomness():
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    flat = torch.zeros(64, 8)
    expect_seeded(lambda generator: sample_top_p(flat, 1.0, generator=generator), what="sample_top_p of 64 rows")
