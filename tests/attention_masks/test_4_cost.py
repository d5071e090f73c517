"""Stage 4. Attention in a window: its answers, gradients and dtypes, and what it costs."""

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_flat_operators,
    expect_gradients,
    expect_operators,
    expect_unchanged,
    measure,
    numbers,
    randn,
    roundings,
)
from dojo.testing.attention import expect_finite_gradients
from katas.attention_masks import window_attention

from .helpers import qkv

SIZES = [(6, 2), (7, 3), (8, 3), (9, 3), (10, 9), (5, 5), (4, 7), (1, 1), (1, 4), (6, 1)]
ALONE = "each query with the keys i - window < j <= i: with its own block of keys and the one before"


def test_a_query_of_zeros_takes_the_mean_of_its_window(rng):
    """Window 2 over the values 1, 3, 7, 5: the first query has one key, not a key of zeros before it."""
    v = numbers(1, 3, 7, 5)[:, None]
    found = window_attention(torch.zeros(4, 1).double(), torch.zeros(4, 1).double(), v, 2)
    hint = "what stands before token 0 in the first block is hidden, not a key of zeros with a score of 0"
    expect_close(found, numbers(1, 2, 5, 6)[:, None], what="means of the window: [1, 3, 7, 5], window 2", hint=hint)


@pytest.mark.parametrize(("n", "window"), SIZES)
def test_each_query_sees_its_window_alone(rng, n, window):
    """Against that query with those keys and no others. Blocks may end before n, at n, or behind it."""
    q, k, v = qkv(rng, 2, n, 4)
    found = window_attention(q, k, v, window)
    expect_equal(list(getattr(found, "shape", [])), [2, n, 4], what="the shape of the answers")
    for i in range(n):
        own, seen = slice(i, i + 1), slice(max(0, i + 1 - window), i + 1)
        want = F.scaled_dot_product_attention(q[:, own], k[:, seen], v[:, seen])
        what = f"query {i} of {n} in a window of {window}, beside its keys {seen.start} to {i} alone"
        expect_close(found[:, own], want, what=what, hint=ALONE)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)], ids=str)
def test_any_leading_dimensions(rng, batch):
    """Rows and heads, each for itself."""
    q, k, v = qkv(rng, *batch, 7, 2)
    found = window_attention(q, k, v, 3)
    expect_equal(list(getattr(found, "shape", [])), [*batch, 7, 2], what="the shape of the answers")
    rows = zip(*(t.reshape(-1, 7, 2) for t in (found, q, k, v)), strict=True)
    for row, (answer, *alone) in enumerate(rows):
        what = f"matrix {row} of batch {list(batch)}, beside that matrix alone"
        expect_close(answer, window_attention(*alone, 3), what=what, hint="the last two dimensions are n and dim")


def test_arguments_are_left_alone_and_may_be_views(rng):
    """Heads are split off by a transpose, from tokens that lie side by side."""
    q, k, v = qkv(rng, 2, 7, 3, 4)
    views = [t.transpose(1, 2) for t in (q, k, v)]
    with expect_unchanged(q, k, v, what="an argument of window_attention"):
        found = window_attention(*views, 3)
    want = window_attention(*(t.contiguous() for t in views), 3)
    expect_close(found, want, what="window_attention of transposed views", hint="reshape, not view")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Against float64, to 20 roundings of the largest value. The result has the dtype of q."""
    given = qkv(rng, 2, 7, 4, dtype=dtype)
    want = window_attention(*(t.double() for t in given), 3).to(dtype)
    found = window_attention(*given, 3)
    expect_close(
        found, want, what=f"window_attention in {dtype}", hint="keep q's dtype", **roundings(20, dtype, given[2])
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scores_of_3e4_are_fine(dtype):
    """dim = 16: q k^T is +-119808, beyond float16; q k^T / 4 is +-29952. The hidden keys would win: they fit well where
    the visible ones fit badly, and their values are loud. So would a key of zeros before the first."""
    sign = torch.tensor([-1.0, 1.0, -1.0, -1.0, 1.0])[:, None]
    q, k = 117 * torch.ones(5, 16), 64 * sign * torch.ones(5, 16)
    v = torch.tensor([2.0, 1e4, 4.0, 8.0, 16.0])[:, None].expand(5, 16)
    want = torch.tensor([2.0, 1e4, 1e4, 6.0, 16.0])[:, None].expand(5, 16).to(dtype)
    found = window_attention(q.to(dtype), k.to(dtype), v.to(dtype), 2)
    # Next to 3e4 float32 has steps of 2^-9: a weight exp(score - logsumexp) is right to about one of them.
    near = {"rtol": 2.0**-9, "atol": 0.0} if dtype is torch.float32 else {}
    hint = "hidden scores are -inf, not 0 or -1e4; divide q by sqrt(dim) before the product"
    expect_close(found, want, what=f"answers in {dtype} behind scores of +-29952", hint=hint, **near)
    v = torch.tensor([1.0, 3.0, 7.0, 5.0, 1.0])[:, None].expand(5, 16)
    want = torch.tensor([1.0, 2.0, 5.0, 6.0, 3.0])[:, None].expand(5, 16).to(dtype)
    found = window_attention(q.to(dtype), torch.full((5, 16), -64.0, dtype=dtype), v.to(dtype), 2)
    expect_close(found, want, what=f"answers in {dtype} where all scores are -29952", hint=hint, **near)


def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, by q, k and v; the last block is ragged."""
    expect_gradients(lambda *given: window_attention(*given, 2), qkv(rng, 5, 2), what="window_attention")


@pytest.mark.parametrize("window", [1, 2, 4])
def test_what_a_query_does_not_see_gets_exactly_no_gradient(rng, window):
    """A weight of 1e-9 in place of 0 would leave a trace."""
    q, k, v = leaves = [t.requires_grad_() for t in qkv(rng, 9, 3)]
    found = window_attention(q, k, v, window)
    expect_equal(list(getattr(found, "shape", [])), [9, 3], what="the shape of the answers")
    backward(found[6].square().sum())
    seen = [6 - window < j <= 6 for j in range(9)]
    hint = "hidden scores are -inf: a weight of exactly 0"
    expect_finite_gradients(dict(zip("qkv", leaves, strict=True)), hint="no row of -inf alone reaches the softmax")
    touched = (v.grad != 0).any(-1).tolist()
    expect_equal(touched, seen, what=f"which values get a gradient from query 6, window {window}", hint=hint)
    for name, gradient in (("k", k.grad), ("q", q.grad)):
        outside = gradient[~torch.tensor(seen)]
        what = f"the gradient of {name} by query 6, outside of its window of {window}"
        expect_close(outside, torch.zeros_like(outside), what=what, hint=hint, rtol=0, atol=0)


@pytest.mark.parametrize(("layers", "window"), [(1, 3), (2, 3), (3, 2), (3, 4)])
def test_layers_pass_on_what_lies_beyond_the_window(rng, layers, window):
    """After L layers a token is influenced by exactly those from i - L (window - 1) to i."""
    x = y = randn(rng, 16, 3).requires_grad_()
    for _ in range(layers):
        y = window_attention(y, y, y, window)
    backward(y[14].sum())
    reach = [14 - layers * (window - 1) <= j <= 14 for j in range(16)]
    what = f"which tokens reach token 14 through {layers} layers with a window of {window}"
    expect_equal((x.grad != 0).any(-1).tolist(), reach, what=what, hint=ALONE)


N, WINDOW, DIM = 1024, 64, 64
PAIRS = sum(min(i + 1, WINDOW) for i in range(N))  # that see each other


@pytest.fixture(scope="module")
def spent():
    """The cost of one matrix of 1024 tokens in a window of 64."""
    given = [t.float() for t in qkv(torch.Generator().manual_seed(0), N, DIM)]
    with measure() as spent:
        window_attention(*given, WINDOW)
    return spent


def test_flops_grow_with_n_and_not_with_its_square(spent):
    """Two products of 2 dim FLOPs for each pair in the band. Blocks of `window` queries with two blocks of keys do 2.06
    times that, a dense product 16."""
    flops = 4 * DIM * PAIRS
    sentence = f"torch operators should do the work, but only {spent.flops / flops:.2f}x its FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="q k^T and weights v are matrix products, of blocks")
    sentence = f"attention in a window should cost at most 2.2x the band's FLOPs, but cost {spent.flops / flops:.2f}x"
    expect(spent.flops <= 2.2 * flops, sentence, hint="a block of `window` queries needs 2 * window keys, not all")


def test_a_window_wider_than_n_costs_no_more(rng):
    """A short prompt in a model with a wide window: blocks filled up to the window would be mostly nothing."""
    flops = {}
    for window in (8, 64):
        with measure() as spent:
            window_attention(*qkv(rng, 8, 4), window)
        flops[window] = spent.flops
    sentence = f"8 tokens in a window of 64 should take the FLOPs of a window of 8, {flops[8]}, but took {flops[64]}"
    expect(flops[64] <= flops[8], sentence, hint="a window is never wider than n: min(window, n)")


def test_nothing_has_n_squared_elements(spent):
    """No scores of all pairs, and no mask of them either. Nor does each query need a copy of its keys."""
    sentence = f"the largest tensor should have less than n^2 = {N**2} elements, but has {spent.largest}"
    expect(spent.largest < N**2, sentence, hint="the mask of one block serves all blocks: [window, 2 * window]")


def test_no_loop_over_queries(spent):
    """A loop over blocks is fine."""
    what = f"window_attention of {N} tokens in a window of {WINDOW}"
    expect_operators(spent, N - 1, what=what, hint="blocks of queries, as many as the window has keys")


def test_operators_do_not_grow_with_the_batch(rng):
    """Rows and heads are leading dimensions."""
    expect_flat_operators(
        lambda *given: window_attention(*given, 4),
        lambda rows: qkv(rng, rows, 3, 16, 4),
        (2, 16),
        what="window_attention",
        hint="@ takes any leading dimensions",
    )
