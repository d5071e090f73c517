"""Stage 3. Large scores, dtypes, gradients."""

import pytest
import torch

from dojo.testing import FLOATS, backward, expect_close, expect_equal, expect_gradients, randn, roundings
from katas.grouped_query_attention import grouped_attention, pool_kv_heads

from .helpers import qkv

SIGNS = torch.tensor([[1.0], [1.0], [-1.0]])  # of three keys


@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype, causal):
    """Against float64. Tolerance: 20 roundings of the largest value."""
    inputs = [t.to(dtype) for t in qkv(rng)]
    want = grouped_attention(*(t.double() for t in inputs), causal=causal)
    expect_equal(list(getattr(want, "shape", [])), [2, 6, 4, 4], what="the shape of the answers")
    close = roundings(20, dtype, inputs[2])
    what = f"attention in {dtype}, causal={causal}"
    expect_close(
        grouped_attention(*inputs, causal=causal), want.to(dtype), what=what, hint="keep the inputs' dtype", **close
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_pooling_works_in_every_floating_dtype(rng, dtype):
    """A checkpoint is pooled in the dtype that it was saved in. Tolerance: one rounding for each of the 4 heads."""
    weight = randn(rng, 8 * 2, 5).to(dtype)
    want = pool_kv_heads(weight.double(), 8, 2)
    expect_equal(list(getattr(want, "shape", [])), [4, 5], what="the shape of the pooled weight")
    close = roundings(4, dtype, weight)
    expect_close(
        pool_kv_heads(weight, 8, 2), want.to(dtype), what=f"a weight in {dtype}, pooled", hint="keep the dtype", **close
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scores_of_3e4_are_fine(dtype):
    """d = 16: q k^T is +-119808, q k^T / sqrt(d) is +-29952, exactly in each dtype. exp overflows without the maximum
    subtracted, and in float16, which ends at 65504, the product does if it is divided only afterwards."""
    q = torch.full((1, 4, 2, 16), 117.0, dtype=dtype) * torch.tensor([[1.0], [-1.0]], dtype=dtype)
    k = torch.full((1, 2, 3, 16), 64.0, dtype=dtype) * SIGNS.to(dtype)
    v = torch.eye(3, 16, dtype=dtype).expand(1, 2, 3, 16)
    want = torch.zeros(2, 16, dtype=dtype)
    want[0, :2], want[1, 2] = 0.5, 1.0
    what = f"the answers in {dtype} for scores of [29952, 29952, -29952] and their negatives"
    hint = "torch.softmax subtracts the maximum; divide q by sqrt(d) before the product, not the product after it"
    expect_close(grouped_attention(q, k, v), want.expand(1, 4, 2, 16), what=what, hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_large_scores_that_differ_are_told_apart(dtype):
    """d = 16, and the scores are 29952 and 28080 (q k^T / sqrt(d) in float16 exactly, in bfloat16 nearly), or their
    negatives: the larger one takes everything. Clipped, both would be the same, and q k^T, 119808 and 112320, is inf twice."""
    q = torch.full((1, 4, 2, 16), 117.0, dtype=dtype) * torch.tensor([[1.0], [-1.0]], dtype=dtype)
    k = torch.tensor([[64.0], [60.0]], dtype=dtype).expand(1, 2, 2, 16)
    v = torch.eye(2, 16, dtype=dtype).expand(1, 2, 2, 16)
    want = torch.eye(2, 16, dtype=dtype).expand(1, 4, 2, 16)
    what = f"the answers in {dtype} for scores of [29952, 28080] and their negatives"
    hint = (
        "divide q by sqrt(d) before the product, and clip no scores: what matters is how far below the maximum one is"
    )
    expect_close(grouped_attention(q, k, v), want, what=what, hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_future_key_weighs_nothing_however_well_it_fits(dtype):
    """The two past keys score -29952, the future one as much above zero, and its value is loud. With -1e4 in place of
    -inf it would win, and float16 has no -1e9."""
    q = torch.full((1, 4, 2, 16), -117.0, dtype=dtype)
    k = torch.full((1, 2, 3, 16), 64.0, dtype=dtype) * SIGNS.to(dtype)
    v = torch.tensor([[1.0], [3.0], [1e4]], dtype=dtype).expand(1, 2, 3, 16)
    got = grouped_attention(q, k, v, causal=True)
    expect_equal(list(getattr(got, "shape", [])), [1, 4, 2, 16], what="the shape of the answers")
    want = torch.full((1, 4, 16), 2.0, dtype=dtype)
    what = f"in {dtype} the mean of the values 1 and 3, behind scores of -29952, before a key that scores 29952"
    expect_close(got[:, :, 0], want, what=what, hint="hidden scores are -inf")


@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
def test_gradients_are_those_of_the_function(rng, heads, kv_heads, causal):
    """Finite differences in float64, for q, k and v."""
    inputs = qkv(rng, heads, kv_heads, batch=1, queries=2, keys=3, dim=2)
    what = f"attention (causal={causal})"
    expect_gradients(lambda *given: grouped_attention(*given, causal=causal), inputs, what=what)


def test_pooling_has_gradients(rng):
    """Finite differences in float64: a model that is pooled before it is trained learns its many heads."""
    what = "the pooled weight"
    expect_gradients(lambda weight: pool_kv_heads(weight, 4, 2), [randn(rng, 8, 2)], what=what)


def test_a_kv_head_gets_the_gradients_of_its_whole_group(rng):
    """K and V are shared, so each query head adds its own part; none of another group does."""
    q, k, v = (t.requires_grad_() for t in qkv(rng, 6, 2))
    got = grouped_attention(q, k, v)
    expect_equal(list(getattr(got, "shape", [])), [2, 6, 4, 4], what="the shape of the answers")
    backward(got.square().sum())
    for kv_head in range(2):
        total = [torch.zeros(2, 5, 4).double() for _ in range(2)]
        for head in range(3 * kv_head, 3 * kv_head + 3):
            own = [t.detach()[:, kv_head : kv_head + 1].clone().requires_grad_() for t in (k, v)]
            backward(grouped_attention(q[:, head : head + 1].detach(), *own).square().sum())
            total = [part + leaf.grad[:, 0] for part, leaf in zip(total, own, strict=True)]
        for name, leaf, want in zip("kv", (k, v), total, strict=True):
            what = f"the gradient of {name}'s head {kv_head}, against the sum over its 3 query heads"
            expect_close(leaf.grad[:, kv_head], want, what=what, hint="detach nothing, and share by views")


def test_the_future_gets_exactly_no_gradient(rng):
    """A weight of 1e-9 in place of 0 would leave a trace."""
    q, k, v = (t.requires_grad_() for t in qkv(rng, queries=5))
    got = grouped_attention(q, k, v, causal=True)
    expect_equal(list(getattr(got, "shape", [])), [2, 6, 5, 4], what="the shape of the answers")
    backward(got[:, :, 2].square().sum())
    for name, leaf in (("k", k), ("v", v)):
        reached = (leaf.grad.abs().sum(-1) > 0).tolist()
        what = f"which tokens of {name} get a gradient from query 2"
        expect_equal(reached, [[[True] * 3 + [False] * 2] * 3] * 2, what=what, hint="hidden scores are -inf")
