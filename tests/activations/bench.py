"""The hidden layer of an MLP for 2048 tokens. The floors read the arguments once and write the results once."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"tokens": (256, 512)}, "grows": {"tokens": 1, "hidden": 1}, "tiny": {"tokens": 8, "hidden": 16}}


@work(tokens=2048, hidden=2048, **SIZES)
def gelu(bench, tokens, hidden):
    """Exact GELU."""
    x = bench.randn(tokens, hidden)
    bench.katas(lambda kata: partial(kata.gelu, x))
    bench.way("torch: gelu", partial(F.gelu, x))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * x.nbytes)


@work(tokens=2048, hidden=2048, **SIZES)
def silu_backward(bench, tokens, hidden):
    """The gradient of SiLU."""
    grad, x = bench.randn(tokens, hidden), bench.randn(tokens, hidden)
    bench.katas(lambda kata: partial(kata.silu_backward, grad, x))
    bench.way("torch: silu_backward", partial(torch.ops.aten.silu_backward, grad, x))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=3 * x.nbytes)


@work(tokens=2048, hidden=2048, **SIZES)
def swiglu(bench, tokens, hidden):
    """The gated product."""
    gate, up = bench.randn(tokens, hidden), bench.randn(tokens, hidden)
    bench.katas(lambda kata: partial(kata.swiglu, gate, up))
    bench.way("torch: silu, then a product", lambda: F.silu(gate) * up)
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=3 * gate.nbytes)
