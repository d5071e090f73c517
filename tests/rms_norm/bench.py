"""Rows of a 4096 wide model. The floor of the forward pass reads x and writes the result; that of the backward pass
reads grad and x and writes grad_x."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"rows": (512, 1024), "dim": (1024, 2048)}, "grows": {"rows": 1, "dim": 1}}


@work(rows=2048, dim=4096, tiny={"rows": 64, "dim": 128}, **SIZES)
def rms_forward(bench, rows, dim):
    """RMSNorm."""
    x, weight = bench.randn(rows, dim), bench.randn(dim)
    bench.katas(lambda kata: partial(kata.rms_norm, x, weight))
    bench.way("torch: F.rms_norm", partial(F.rms_norm, x, (dim,), weight, 1e-6))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * x.nbytes)


@work(rows=2048, dim=4096, tiny={"rows": 64, "dim": 128}, **SIZES)
def layer_forward(bench, rows, dim):
    """LayerNorm."""
    x, weight, bias = bench.randn(rows, dim), bench.randn(dim), bench.randn(dim)
    bench.katas(lambda kata: partial(kata.layer_norm, x, weight, bias))
    bench.way("torch: F.layer_norm", partial(F.layer_norm, x, (dim,), weight, bias))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * x.nbytes)


@work(rows=2048, dim=4096, tiny={"rows": 64, "dim": 128}, **SIZES)
def layer_backward(bench, rows, dim):
    """LayerNorm's gradients."""
    grad, x, weight = bench.randn(rows, dim), bench.randn(rows, dim), bench.randn(dim)

    def by_autograd():
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.zeros(dim, requires_grad=True)
        return torch.autograd.grad(F.layer_norm(leaves[0], (dim,), *leaves[1:]), leaves, grad)

    bench.katas(lambda kata: partial(kata.layer_norm_backward, grad, x, weight))
    bench.way("torch: autograd of F.layer_norm", by_autograd)
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=3 * x.nbytes)
