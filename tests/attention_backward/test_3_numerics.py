"""Stage 3. Every dtype, scores of 3e4, sums beyond float16."""

import pytest
import torch

from dojo.testing import FLOATS, HALVES, expect_close, expect_equal, numbers, randn, roundings
from dojo.testing.attention import some_mask
from katas.attention_backward import softmax_backward

from .helpers import NAMES, by_autograd, forward, gradients, product_gradients, torch_attention

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDE = "convert to float32 before the products and sums, and back at the end"
HEIGHT = 3e4


def exact(rng, dtype, *shape):
    """Numbers up to 2 that are exact in dtype: in float32 and float64 some that half precision would round."""
    steps = 8 if dtype in HALVES else 2**20
    return (steps * randn(rng, *shape)).round().clamp(-2 * steps, 2 * steps) / steps


def expect_like(got, want, dtype, *, what, count=8):
    """`got` is of `dtype`, and `want` of float64 within `count` roundings of its largest number."""
    expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="convert back at the end")
    close = roundings(count, dtype, want.abs().max().clamp(min=0.1))
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDE, **close)


@EVERY
def test_matmul_backward_works_in_every_dtype(rng, dtype):
    """The gradients have the inputs' dtype. Tolerance: 2 roundings of the largest number, and more for float32's sums."""
    a, b, grad = exact(rng, dtype, 6, 3, 4), exact(rng, dtype, 4, 5), exact(rng, dtype, 6, 3, 5)
    got = product_gradients(grad.to(dtype), a.to(dtype), b.to(dtype))
    _, want = by_autograd(torch.matmul, (a, b), grad)
    for name, one, other in zip(("grad_a", "grad_b"), got, want, strict=True):
        expect_like(one, other, dtype, what=f"{name} of matmul_backward in {dtype}", count=2 if dtype in HALVES else 8)


@EVERY
def test_softmax_backward_works_in_every_dtype(rng, dtype):
    """Probabilities are sixteenths, exact in every dtype, exact zeros among them."""
    probs = torch.tensor([[1, 5, 8, 2, 0], [0, 0, 16, 0, 0], [4, 4, 4, 2, 2]]).double() / 16
    grad = exact(rng, dtype, 3, 5)
    got = softmax_backward(grad.to(dtype), probs.to(dtype))
    _, (want,) = by_autograd(lambda x: x.softmax(-1), [probs.log()], grad)
    expect_like(got, want, dtype, what=f"softmax_backward in {dtype}", count=2)


def test_a_row_of_zeros_has_no_gradient(rng):
    """That is what a query that sees nothing has for probabilities: no division by their sum."""
    got = softmax_backward(randn(rng, 2, 4), torch.zeros(2, 4).double())
    expect_equal(got.abs(), torch.zeros(2, 4).double(), what="softmax_backward where all probs are 0", hint="p * (...)")


@EVERY
@pytest.mark.parametrize("masked", [False, True], ids=["all keys", "masked"])
def test_attention_works_in_every_dtype(rng, dtype, masked):
    """Everything has the inputs' dtype. Tolerance: 8 roundings of the largest number."""
    q, k, v = (exact(rng, dtype, 2, n, 4) for n in (5, 6, 6))
    mask, grad = some_mask(rng, 5, 6) if masked else None, exact(rng, dtype, 2, 5, 4)
    want_out, want = torch_attention(q, k, v, mask, grad)
    narrow = [x.to(dtype) for x in (q, k, v)]
    expect_like(forward(*narrow, mask)[0], want_out, dtype, what=f"out of attention_forward in {dtype}")
    got = gradients(grad.to(dtype), *narrow, mask)
    for name, other in zip(NAMES, want, strict=True):
        expect_like(got[name], other, dtype, what=f"{name} of attention_backward in {dtype}")


def test_sums_do_not_run_in_half_precision():
    """In float16 nothing above 65504 is finite, and 2048 + 1 = 2048. Here such terms cancel, or are small beside others."""
    big, small = torch.full((2, 1, 1), 256.0).half(), torch.tensor([512.0, -512.0]).half()[:, None, None]
    small[1] += 0.5
    got = product_gradients(small, big, torch.ones(1, 1).half())[1]
    what = "grad_b of matmul_backward in float16, 256 * 512 + 256 * -511.5"
    expect_close(got, torch.full((1, 1), 128.0).half(), what=what, hint=WIDE)
    grad, ones = torch.tensor([2048.0] + 15 * [1.0]).half()[:, None, None], torch.ones(16, 1, 1).half()
    got = product_gradients(grad, ones, torch.ones(1, 1).half())[1]
    what = "grad_b of matmul_backward in float16, 2048 and 15 times 1 (float16 has steps of 2 there)"
    expect_close(got, torch.full((1, 1), 2064.0).half(), what=what, hint=WIDE, rtol=0.0, atol=2.0)
    grad = torch.tensor([[60000.0, -60000.0, 0.0]]).half()
    got = softmax_backward(grad, torch.tensor([[0.5, 0.25, 0.25]]).half())
    want = torch.tensor([[22500.0, -18750.0, -3750.0]]).half()
    what = "softmax_backward([60000, -60000, 0], probs=[1/2, 1/4, 1/4]) in float16"
    expect_close(got, want, what=what, hint=f"grad - 15000 is -75000 on the way; {WIDE}")
    for dtype, height in ((torch.float16, 2048.0), (torch.bfloat16, 256.0)):
        got = softmax_backward(torch.tensor([height, height + 2]).to(dtype), torch.tensor([0.5, 0.5]).to(dtype))
        what = f"softmax_backward([{height:g}, {height + 2:g}], probs=[1/2, 1/2]) in {dtype}"
        want = torch.tensor([-0.5, 0.5]).to(dtype)
        expect_close(got, want, what=what, hint=f"the weighted mean, {height + 1:g}, is not in {dtype}; {WIDE}")


def test_attention_does_not_overflow_on_the_way():
    """grad 512 times values around 256: dP is 131072 and more, where float16 ends at 65504. The values differ by 2, so
    that dS is 1/4 of 1024, and grad_k is dS times q, 1/16."""
    dtype = torch.float16
    q, k = torch.full((1, 1), 0.0625).to(dtype), torch.zeros(2, 1).to(dtype)
    v, grad = torch.tensor([[256.0], [258.0]]).to(dtype), torch.full((1, 1), 512.0).to(dtype)
    got = gradients(grad, q, k, v)
    want = torch.tensor([[-16.0], [16.0]]).to(dtype)
    expect_close(got["grad_k"], want, what=f"grad_k in {dtype} for grad 512, values 256 and 258", hint=WIDE)
    want = torch.full((2, 1), 256.0).to(dtype)
    expect_close(got["grad_v"], want, what=f"grad_v in {dtype} for grad 512, weights 1/2", hint=WIDE)


@EVERY
@pytest.mark.parametrize("sign", [1, -1], ids=["3e4", "-3e4"])
def test_scores_of_3e4_work(dtype, sign):
    """Scores of 3e4, 3e4 and -3e4 (or the reverse): probabilities 1/2, 1/2, 0, or 0, 0, 1. Without the maximum exp is
    inf or 0; and float16 has steps of 16 there, float32 of 0.002, which is what log-sum-exp costs: 3 roundings."""
    rows = torch.tensor([1.0, 1.0, -1.0])[:, None].expand(3, 16)
    q, k, v = 117 * sign * rows[:1], 64 * rows, torch.tensor([[4.0], [0.0], [2.0]])
    q, k, v = (x.to(dtype) for x in (q, k, v))
    grad = torch.full((1, 1), 0.125).to(dtype)
    inner = torch.promote_types(dtype, torch.float32)
    atol = roundings(8, dtype, 2.0)["atol"] + roundings(3, inner, 2 * HEIGHT)["atol"]
    hint = "products and what is saved in float32 at least (q k^T is above 65504 before it is scaled); subtract the maximum"
    what = f"with scores of {sign * HEIGHT:g}, {sign * HEIGHT:g} and {-sign * HEIGHT:g} in {dtype}"
    want = torch.tensor([[2.0]]).to(dtype)
    expect_close(forward(q, k, v)[0], want, what=f"out {what}", hint=hint, rtol=0.0, atol=atol)
    got = gradients(grad, q, k, v)
    want = (torch.tensor([0.5, 0.5, 0.0] if sign > 0 else [0.0, 0.0, 1.0])[:, None] / 8).to(dtype)
    expect_close(got["grad_v"], want, what=f"grad_v {what}", hint=hint, rtol=0.0, atol=atol / 8)
    scores = torch.tensor([1.0, -1.0, 0.0] if sign > 0 else [0.0, 0.0, 0.0])[:, None] / 8  # dS = P (dP - 1/4)
    want = (scores * q.float() / 4).to(dtype)
    close = {"rtol": 0.0, "atol": atol * 117 / 8 + roundings(8, dtype, 4.0)["atol"]}
    expect_close(got["grad_k"], want, what=f"grad_k {what}", hint=hint, **close)


@EVERY
def test_rows_of_scores_are_apart(dtype):
    """Scores [s, s, s/2], zeros, and [-s, -s, -s/2], with s near 3e4 and a scale of 1 / sqrt(2), without and with a hidden
    key of score 0: weights [1/2, 1/2, 0], [1/3, 1/3, 1/3], [0, 0, 1]. q / sqrt(2) rounded to half precision moves them by 20."""
    q = torch.tensor([[220.0, 132.0], [0.0, 0.0], [-220.0, -132.0]]).to(dtype)
    k = torch.tensor([[192.0, 0.0], [0.0, 320.0], [96.0, 0.0], [0.0, 0.0]]).to(dtype)
    v, grad = torch.tensor([[4.0], [0.0], [5.0], [9.0]]).to(dtype), torch.ones(3, 1).to(dtype)
    hint = "q k^T / sqrt(dim) in float32; each row has its own maximum; -inf where hidden, for -1e4 is above -3e4"
    inner = torch.promote_types(dtype, torch.float32)
    atol = roundings(8, dtype, 5.0)["atol"] + roundings(3, inner, 2 * HEIGHT)["atol"]
    for keys, mask, last in ((3, None, ""), (4, torch.tensor([1, 1, 1, 0]).bool(), ", hidden")):
        what = f"for scores [29868, 29868, 14934{last}], zeros, and [-29868, -29868, -14934{last}] in {dtype}"
        want = torch.tensor([[2.0], [3.0], [5.0]]).to(dtype)
        close = {"hint": hint, "rtol": 0.0, "atol": atol}
        expect_close(forward(q, k[:keys], v[:keys], mask)[0], want, what=f"out {what}", **close)
        got = gradients(grad, q, k[:keys], v[:keys], mask)
        want = (numbers(5, 5, 8, 0)[:keys, None] / 6).to(dtype)
        expect_close(got["grad_v"], want, what=f"grad_v {what}", **close)


def test_small_numbers_do_not_vanish_in_half_precision():
    """2^-13 times 2^-13 is 0 in float16, whose smallest number is 2^-24; 4096 times it is 2^-14, an ordinary one. In
    float64 nothing is small: a gradient of 1e-10 has all its digits."""
    tiny = 2.0**-13
    grad, a = torch.full((1, 1), tiny).half(), torch.ones(1, 1).half()
    b = torch.full((4096, 1, 1), tiny).half()
    got, _ = product_gradients(grad.expand(4096, 1, 1), a, b)
    what = "grad_a of matmul_backward in float16, 4096 terms of 2^-26"
    expect_close(got, torch.full((1, 1), 4096 * tiny**2).half(), what=what, hint=WIDE, rtol=0.01, atol=0.0)
    close = {"rtol": 0.0, "atol": 1e-12}
    got = softmax_backward(numbers(1, -1, 0), numbers(1e-10, 1e-10, 1))
    expect_close(
        got, numbers(1e-10, -1e-10, 0), what="softmax_backward of tiny probabilities", hint="p * (...)", **close
    )
