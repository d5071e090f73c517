"""One token through a layer of a 4096 wide model, and a prefill of many. The floor reads the codes once, a quarter of
float32."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"tokens": (1, 16), "width": (1024, 2048)}, "grows": {"width": 2}}


def float_layer(bench, width):
    """A float layer with random weights and no bias to speak of."""
    linear = nn.Linear(width, width)
    with torch.no_grad():
        linear.weight.copy_(bench.randn(width, width) / width**0.5)
        linear.bias.zero_()
    return linear.to(bench.device)


def runs(layer, x):
    with torch.inference_mode():
        return layer(x)


@work(tokens=4, width=4096, tiny={"tokens": 4, "width": 2048}, **SIZES)
def dynamic(bench, tokens, width):
    """A dynamic layer at a few tokens: the integer product reads the codes as they are."""
    linear, x = float_layer(bench, width), bench.randn(tokens, width)
    bench.katas(lambda kata: partial(runs, kata.Int8Linear.from_linear(linear, dynamic=True), x))
    bench.adapted("torchao", lambda kata: partial(runs, kata.Int8Linear.from_linear(linear, dynamic=True), x))

    def naive(codes, scales):
        most = x.abs().amax(1, keepdim=True) / 127
        return ((x / most).round() @ codes.float().T) * most * scales

    bench.way("naive: codes as float32", partial(naive, *bench.reference.quantize_per_row(linear.weight.detach())))
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=width * width, flops=2 * tokens * width * width)


@work(tokens=4, width=4096, tiny={"tokens": 4, "width": 128}, **SIZES)
def weight_only(bench, tokens, width):
    """A weight-only layer. Without a fused kernel it moves more than the float layer; torch has one for the CPU."""
    linear, x = float_layer(bench, width), bench.randn(tokens, width)
    bench.katas(lambda kata: partial(runs, kata.Int8Linear.from_linear(linear, dynamic=False), x))
    bench.adapted("torchao", lambda kata: partial(runs, kata.Int8Linear.from_linear(linear, dynamic=False), x))
    codes, scales = bench.reference.quantize_per_row(linear.weight.detach())
    bench.way("dequantised before", partial(F.linear, x, codes * scales[:, None], linear.bias.detach()))
    bench.way("torch: _weight_int8pack_mm", partial(torch._weight_int8pack_mm, x, codes, scales))
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=width * width, flops=2 * tokens * width * width)
