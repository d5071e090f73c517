"""Attention's two passes at the size of a small model. The floor is the FLOPs of seven products: two forward, five
backward. torch's fused call skips no work without a mask, and forms no scores in memory."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"heads": (4, 8), "tokens": (256, 512)}, "grows": {"heads": 1, "tokens": 2}}


def by_hand(kata, q, k, v, grad):
    with torch.no_grad():
        _, saved = kata.attention_forward(q, k, v)
        return kata.attention_backward(grad, saved)


def by_autograd(attention, q, k, v, grad):
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    return torch.autograd.grad(attention(*leaves), leaves, grad)


def plain(q, k, v):
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


@work(heads=8, tokens=1024, tiny={"heads": 2, "tokens": 512}, **SIZES)
def attention(bench, heads, tokens):
    """Forward and backward, no mask."""
    inputs = [bench.randn(1, heads, tokens, 64) for _ in range(4)]
    bench.katas(lambda kata: partial(by_hand, kata, *inputs))
    bench.way("autograd of the naive formula", partial(by_autograd, plain, *inputs))
    bench.way("torch: autograd of its fused attention", partial(by_autograd, F.scaled_dot_product_attention, *inputs))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=7 * 2 * heads * tokens**2 * 64)


@work(
    rows=4096,
    n=1024,
    tiny={"rows": 64, "n": 32},
    sweep={"rows": (1024, 2048), "n": (256, 512)},
    grows={"rows": 1, "n": 1},
)
def softmax(bench, rows, n):
    """softmax_backward. The floor reads grad and probs and writes the result."""
    grad, probs = bench.randn(rows, n), bench.randn(rows, n).softmax(-1)
    bench.katas(lambda kata: partial(kata.softmax_backward, grad, probs))
    bench.way("torch: its own operator", partial(torch.ops.aten._softmax_backward_data, grad, probs, -1, torch.float32))
    bench.same(rtol=1e-4, atol=1e-6)
    bench.floor(bytes=3 * grad.nbytes)
