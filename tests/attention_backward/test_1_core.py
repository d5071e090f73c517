"""Stage 1. Matmul of matrices, softmax, attention without a mask."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_own_work, expect_unchanged, numbers, randn
from katas import attention_backward as kata
from katas.attention_backward import softmax_backward

from .helpers import NAMES, by_autograd, forward, gradients, product_gradients, qkv, torch_attention
from .probe import FORBIDDEN

PRODUCT = "grad_a[i, k] sums grad[i, j] b[k, j] over j: the index that the result does not have is summed"
CENTRE = "p * (grad - sum(p * grad)): each p_i depends on all of the row's x"
CHAIN = "backwards: out = P v, then the softmax, then S = q k^T / sqrt(dim); each product is a matmul_backward"


def test_matmul_backward_of_a_worked_example():
    """a is 2 x 3 and b 3 x 1, so only one order of the factors fits: grad b^T and a^T grad."""
    grad, a, b = numbers(1, 10)[:, None], numbers(1, 2, 3, 4, 5, 6).view(2, 3), numbers(1, 2, -1)[:, None]
    grad_a, grad_b = product_gradients(grad, a, b)
    what = "of matmul_backward([[1], [10]], a=[[1, 2, 3], [4, 5, 6]], b=[[1], [2], [-1]])"
    want = numbers(1, 2, -1, 10, 20, -10).view(2, 3)
    expect_close(grad_a, want, what=f"grad_a {what}", hint=PRODUCT)
    expect_close(grad_b, numbers(41, 52, 63)[:, None], what=f"grad_b {what}", hint="a^T grad")


def test_the_gradients_are_your_own():
    """Autograd and torch's attention have them ready-made; the question is what happens inside."""
    product_gradients(*(numbers(1)[None] for _ in range(3)))
    expect_own_work(kata, FORBIDDEN)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (3, 3, 3)], ids=str)
def test_matmul_backward_is_the_slope_of_matmul(rng, size):
    """Against autograd. When all sizes are equal, a missing transpose has the right shape."""
    m, k, n = size
    grad, a, b = randn(rng, m, n), randn(rng, m, k), randn(rng, k, n)
    got, (_, want) = product_gradients(grad, a, b), by_autograd(torch.matmul, (a, b), grad)
    for name, one, other in zip(("grad_a", "grad_b"), got, want, strict=True):
        what = f"{name} of matmul_backward for a {[m, k]} and b {[k, n]}, against autograd"
        expect_close(one, other, what=what, hint=f"{PRODUCT}; grad_a = grad b^T and grad_b = a^T grad")


def test_softmax_backward_of_a_worked_example():
    """probs [1/4, 1/4, 1/2] and grad [4, 0, 0]: the weighted mean of grad is 1, so p (grad - 1) = [3/4, -1/4, -1/2]."""
    got = softmax_backward(numbers(4, 0, 0), numbers(0.25, 0.25, 0.5))
    what = "softmax_backward([4, 0, 0], probs=[1/4, 1/4, 1/2])"
    expect_close(got, numbers(0.75, -0.25, -0.5), what=what, hint=CENTRE)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_softmax_backward_is_the_slope_of_softmax(rng, size):
    """Against autograd. Adding a constant to x changes no probability, so the gradient adds up to 0."""
    grad, x = 3 * randn(rng, size), randn(rng, size)
    probs, (want,) = by_autograd(lambda leaf: leaf.softmax(-1), [x], grad)
    got = softmax_backward(grad, probs)
    expect_close(got, want, what=f"softmax_backward of {size} numbers, against autograd", hint=CENTRE)
    expect_close(got.sum(), numbers(0)[0], what="the sum of softmax_backward's row", hint=CENTRE)
    got = softmax_backward(torch.full_like(x, 2.5), probs)
    expect_close(got, torch.zeros_like(x), what="softmax_backward of a constant gradient", hint=CENTRE)


def example():
    """q = [2, 0, 0, 0] and keys [log w, 0, 0, 0] for w = 1, 1, 2: scores of log w, weights 1/4, 1/4, 1/2."""
    k = torch.zeros(3, 4).double()
    k[2, 0] = math.log(2)
    return numbers(2, 0, 0, 0)[None], k, numbers(4, 0, 0)[:, None]


def test_attention_forward_of_a_worked_example():
    """Weights 1/4, 1/4, 1/2 of the values 4, 0, 0: 1."""
    out, _ = forward(*example())
    what = "out of attention_forward with q=[2, 0, 0, 0], keys [log w, 0, 0, 0] for w = 1, 1, 2, values 4, 0, 0"
    expect_close(out, numbers(1)[None], what=what, hint="softmax(q k^T / sqrt(4)) v, over the keys")


def test_attention_backward_of_a_worked_example():
    """dv is the weights. dS = [3/4, -1/4, -1/2], as for softmax; dk = dS q / 2 and dq = dS k / 2."""
    q, k, v = example()
    got, scores = gradients(numbers(1)[None], q, k, v), numbers(0.75, -0.25, -0.5)
    what = "of the attention with q=[2, 0, 0, 0], keys [log w, 0, 0, 0] for w = 1, 1, 2, values 4, 0, 0, grad 1"
    expect_close(got["grad_v"], numbers(0.25, 0.25, 0.5)[:, None], what=f"grad_v {what}", hint="P^T grad")
    want = torch.zeros(3, 4).double()
    want[:, 0] = scores
    expect_close(got["grad_k"], want, what=f"grad_k {what}", hint="dS^T q / sqrt(4): the scale once")
    want = numbers(-0.25 * math.log(2), 0, 0, 0)[None]
    expect_close(got["grad_q"], want, what=f"grad_q {what}", hint="dS k / sqrt(4): the scale once")


@pytest.mark.parametrize("size", [(2, 5, 3, 4), (1, 2, 1, 1), (3, 3, 3, 3)], ids=str)
def test_attention_backward_is_the_slope_of_attention(rng, size):
    """Against torch's attention. When all sizes are equal, exchanged axes have the right shapes."""
    queries, keys, dim, value_dim = size
    q, k, v = qkv(rng, queries=queries, keys=keys, dim=dim, value_dim=value_dim)
    grad = randn(rng, queries, value_dim)
    want_out, want = torch_attention(q, k, v, grad=grad)
    words = f"for {queries} queries, {keys} keys, dim {dim} and value_dim {value_dim}"
    what = f"out of attention_forward {words}, against torch's attention"
    expect_close(forward(q, k, v)[0], want_out, what=what, hint="softmax(q k^T / sqrt(dim)) v, over the keys")
    got = gradients(grad, q, k, v)
    for name, other in zip(reversed(NAMES), reversed(want), strict=True):
        what = f"{name} of attention_backward {words}, against autograd of torch's attention"
        expect_close(got[name], other, what=what, hint=CHAIN)


def test_what_the_gradients_add_up_to(rng):
    """Weights sum to 1, so grad_v adds up to grad. Moving all keys together changes no weight, so grad_k adds up to 0.
    Doubling q and halving k changes nothing, so the sums of q * grad_q and of k * grad_k are equal."""
    q, k, v = qkv(rng, queries=4, keys=4, dim=4, value_dim=4)
    grad = randn(rng, 4, 4)
    got = gradients(grad, q, k, v)
    expect_close(got["grad_v"].sum(0), grad.sum(0), what="the sum of grad_v over the keys", hint="P^T grad")
    expect_close(got["grad_k"].sum(0), 0 * q[0], what="the sum of grad_k over the keys", hint=CENTRE)
    one, other = (q * got["grad_q"]).sum(), (k * got["grad_k"]).sum()
    expect_close(one, other, what="sum(q * grad_q), against sum(k * grad_k)", hint="the same scale in both")


def test_the_gradients_are_made_by_hand(rng):
    """No graph: under torch.inference_mode() autograd records nothing, and the formulas work as before."""
    (q, k, v), grad = qkv(rng), randn(rng, 4, 2)
    with expect_unchanged(grad, q, k, v, what="an argument"):
        want = [*product_gradients(grad, q, q.mT @ grad), softmax_backward(grad, grad.softmax(-1))]
        want += gradients(grad, q, k, v).values()
    try:
        with torch.inference_mode():
            q, k, v, grad = (x.clone() for x in (q, k, v, grad))
            got = [*product_gradients(grad, q, q.mT @ grad), softmax_backward(grad, grad.softmax(-1))]
            got += gradients(grad, q, k, v).values()
    except RuntimeError as error:
        expect(False, f"the backward passes should do without autograd, but one needs it: {error}", hint=CHAIN)
    for name, one, other in zip(("grad_a", "grad_b", "softmax_backward", *NAMES), got, want, strict=True):
        expect_close(one.clone(), other, what=f"{name} under torch.inference_mode()", hint="write the formula")
