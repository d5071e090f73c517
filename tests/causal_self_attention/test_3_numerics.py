"""Stage 3. Large scores, dtypes, gradients."""

import pytest
import torch

from dojo.testing import FLOATS, backward, expect_close, expect_equal, expect_gradients, randn, roundings
from dojo.testing.attention import expect_finite_gradients, some_mask
from katas.causal_self_attention import CausalSelfAttention, attention

from .helpers import qkv, random_layer


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Against float64; one query sees nothing. Tolerance: 20 roundings of the largest number on the way."""
    inputs = [t.to(dtype) for t in qkv(rng, 2, queries=5)]
    mask = some_mask(rng, 2, 5, 5)
    mask[0, 3] = False
    for given, causal in ((None, False), (None, True), (mask, False), (mask, True)):
        want = attention(*(t.double() for t in inputs), given, causal=causal).to(dtype)
        what = f"attention in {dtype}, mask={'yes' if given is not None else None}, causal={causal}"
        close = roundings(20, dtype, inputs[2])
        expect_close(attention(*inputs, given, causal=causal), want, what=what, hint="keep the inputs' dtype", **close)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_layer_works_in_every_floating_dtype(rng, dtype):
    """With padding on the left, so that some queries see nothing. Tolerance: 30 roundings of the largest number."""
    exact, x = random_layer(rng), (randn(rng, 2, 5, 6) / 4).to(dtype)
    layer = CausalSelfAttention(6, 2).to(dtype)
    layer.load_state_dict(exact.state_dict())
    exact.load_state_dict(layer.state_dict())  # the same numbers in float64
    padding = torch.arange(5) >= torch.tensor([[0], [2]])
    largest = exact.qkv(x.double())[..., 12:].abs().max() * exact.out.weight.abs().sum(1).max()
    for given, real in ((None, torch.ones(2, 5).bool()), (padding, padding)):
        got, want = layer(x, given), exact(x.double(), given).to(dtype)
        what = f"the layer in {dtype}, padding={'yes' if given is not None else None}"
        expect_equal(list(got.shape), [2, 5, 6], what="the shape of the answers")
        expect_close(got[real], want[real], what=what, hint="float16 has no -1e9", **roundings(30, dtype, largest))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scores_of_3e4_are_fine(dtype):
    """d = 16: q k^T is +-119808, q k^T / sqrt(d) is +-29952, exactly in each dtype. exp overflows without the maximum
    subtracted, and in float16, which ends at 65504, the product does if it is divided only afterwards."""
    q = torch.full((2, 16), 117.0, dtype=dtype) * torch.tensor([[1.0], [-1.0]], dtype=dtype)
    k = torch.full((3, 16), 64.0, dtype=dtype) * torch.tensor([[1.0], [1.0], [-1.0]], dtype=dtype)
    want = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=dtype)
    what = f"weights in {dtype} for scores of [29952, 29952, -29952] and their negatives"
    hint = "torch.softmax subtracts the maximum; divide q by sqrt(d) before the product, not the product after it"
    expect_close(attention(q, k, torch.eye(3, dtype=dtype)), want, what=what, hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_hidden_key_weighs_nothing_however_well_it_fits(dtype):
    """The visible keys score -29952 (in the wider dtypes also -1.6e10), the hidden one as much above zero, and its value
    is loud. With -1e4 or -1e9 in place of -inf it would win."""
    k = torch.full((3, 16), 64.0, dtype=dtype) * torch.tensor([[1.0], [1.0], [-1.0]], dtype=dtype)
    v = torch.tensor([[1.0], [3.0], [1e4]], dtype=dtype)
    mask = torch.tensor([True, True, False])
    for size in (1.0,) if dtype is torch.float16 else (1.0, 2.0**19):
        q = torch.full((2, 16), -117.0 * size, dtype=dtype)
        what = f"in {dtype} the mean of the values 1 and 3, behind scores of {-29952 * size:g}"
        want = torch.full((2, 1), 2.0, dtype=dtype)
        expect_close(attention(q, k, v, mask), want, what=what, hint="hidden scores are -inf")
        want = torch.tensor(
            [[3.0], [0.0]], dtype=dtype
        )  # query 0 sees a key that fits badly, query 1 the loud one, too
        got = attention(q, k[1:], v[1:] * torch.tensor([[1.0], [0.0]], dtype=dtype), causal=True)
        expect_close(got, want, what=f"in {dtype} causal answers, behind scores of {-29952 * size:g}", hint="-inf")


def test_padding_may_hold_anything_finite(rng):
    """What lies in a buffer behind the last token is whatever was there before."""
    layer, x = random_layer(rng), randn(rng, 2, 5, 6)
    padding = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0]]).bool()
    want = layer(x, padding)
    expect_equal(list(want.shape), [2, 5, 6], what="the shape of the answers")
    loud = torch.where(padding[..., None], x, 1e5 * randn(rng, 2, 5, 6))
    what = "the real tokens' answers after the padded tokens have changed"
    expect_close(layer(loud, padding)[padding], want[padding], what=what, hint="hidden scores are -inf, not -1e4")


@pytest.mark.parametrize("kind", ["plain", "causal", "mask", "mask and causal"])
def test_gradients_are_those_of_the_function(rng, kind):
    """Finite differences in float64, for q, k and v; with a mask one query sees nothing."""
    mask = some_mask(rng, 3, 4)
    mask[1] = False
    given = mask if "mask" in kind else None

    def function(q, k, v):
        return attention(q, k, v, given, causal="causal" in kind)

    expect_gradients(function, qkv(rng, queries=3, keys=4), what=f"attention ({kind})")


def test_the_gradients_of_the_layer_are_those_of_the_function(rng):
    """Finite differences in float64, for x and for qkv's bias, with padding on the left."""
    layer, x = random_layer(rng, dim=4), randn(rng, 2, 3, 4) / 2
    padding = torch.tensor([[1, 1, 1], [0, 1, 1]]).bool()

    def function(x, bias):
        weights = dict(layer.named_parameters()) | {"qkv.bias": bias}
        return torch.func.functional_call(layer, weights, (x, padding))[padding]

    expect_gradients(function, (x, layer.qkv.bias), what="the layer")


def test_what_is_hidden_gets_exactly_no_gradient(rng):
    """Neither the tokens behind nor the padded ones; a weight of 1e-9 in place of 0 would leave a trace."""
    layer, x = random_layer(rng), randn(rng, 2, 5, 6).requires_grad_()
    padding = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 1]]).bool()
    got = layer(x, padding)
    expect_equal(list(got.shape), [2, 5, 6], what="the shape of the answers")
    backward(got[:, 3].square().sum())
    seen = padding & (torch.arange(5) <= 3)
    hint = "hidden scores are -inf: a weight of exactly 0"
    hidden = x.grad[~seen]
    expect_close(hidden, torch.zeros_like(hidden), what="d (token 3's answer) / d x, hidden", rtol=0, atol=0, hint=hint)
    expect_equal((x.grad.abs().sum(-1) > 0).tolist(), seen.tolist(), what="which tokens get a gradient", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nothing_to_see_means_gradients_of_zero(rng, dtype):
    """Behind an additive mask of -inf, nan_to_num after the softmax repairs the answer and leaves NaN in the gradients:
    the softmax's derivative multiplies a zero with the NaN. One such row then spoils all weights."""
    q, k, v = leaves = [t.to(dtype).requires_grad_() for t in qkv(rng, 2, queries=5)]
    mask = torch.ones(2, 5, 5).bool()
    mask[1], mask[0, :, 0] = False, False
    backward(attention(*leaves, mask, causal=True).square().sum())
    hint = "keep the empty rows' NaN from arising: give them something to see, then zero their weights"
    expect_finite_gradients(dict(zip("qkv", leaves, strict=True)), hint=hint)
    nothing = {"q": q.grad[0, :1], "k": k.grad[1], "v": v.grad[1]}
    for name, gradient in nothing.items():
        what = f"the gradient of {name} in {dtype} where nothing is seen"
        expect_close(gradient, torch.zeros_like(gradient), what=what, hint="the answer is constant")


def test_a_row_of_padding_leaves_finite_gradients(rng):
    """For x and for all weights. The row's own answers are free, so only the others are in the loss."""
    layer, x = random_layer(rng), randn(rng, 2, 4, 6).requires_grad_()
    padding = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]]).bool()
    got = layer(x, padding)
    expect_equal(list(got.shape), [2, 4, 6], what="the shape of the answers")
    backward(got[1, 1:].square().sum())
    hint = "0 times NaN is NaN: the row's NaN must not arise, even if its answers are not used"
    expect_finite_gradients({"x": x, **dict(layer.named_parameters())}, hint=hint)
