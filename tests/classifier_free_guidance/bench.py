"""Guidance costs two forwards whatever one does; in one call the weights are read once and a small batch fills the
machine better. How much that saves depends on the model and on the batch: on one core next to nothing but the calls'
overhead, on a GPU that one picture does not fill up to half. Here: one picture, and a small convolutional model."""

from functools import partial

import torch
from torch import nn

from dojo.testing.bench import work

ALTERNATIVES = ("centred_norms",)
CHANNELS, LABELS = 64, 10


class Model(nn.Module):
    """Four convolutions; label and time come in as a shift of every channel."""

    def __init__(self):
        super().__init__()
        self.begin, self.end = nn.Conv2d(4, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 4, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.label, self.time = nn.Embedding(LABELS + 1, CHANNELS), nn.Embedding(1000, CHANNELS)

    def forward(self, x, t, labels):
        h = self.begin(x) + (self.label(labels) + self.time(t))[..., None, None]
        for layer in self.middle:
            h = h + layer(torch.nn.functional.silu(h))
        return self.end(h)


def two_calls(model, x, t, cond, null, scale):
    eps_cond, eps_uncond = model(x, t, cond), model(x, t, null.expand_as(cond))
    return eps_uncond + scale * (eps_cond - eps_uncond)


def without_graph(run):
    def ran():
        with torch.no_grad():
            return run()

    return ran


@work(
    batch=1,
    side=16,
    sweep={"batch": (2, 4, 16), "side": (8, 32)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 2, "side": 8},
    counts="flops",
)
def guided_prediction(bench, batch, side):
    """A guided prediction for small latents."""
    model = Model().to(bench.device)
    inputs = bench.randn(batch, 4, side, side), bench.randint(1000, batch), bench.randint(LABELS, batch)
    null = torch.tensor(LABELS, device=bench.device)
    bench.katas(lambda kata: without_graph(partial(kata.guided_eps, model, *inputs, null, 7.5)))
    bench.way("naive: two calls", without_graph(partial(two_calls, model, *inputs, null, 7.5)))
    bench.adapted("diffusers", lambda kata: without_graph(partial(kata.guided_eps, model, *inputs, null, 7.5)))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=2 * batch * side**2 * 2 * 9 * (2 * 4 * CHANNELS + 2 * CHANNELS**2))


@work(batch=16, side=64, grows={"batch": 1, "side": 2}, tiny={"batch": 4, "side": 64})
def rescaling(bench, batch, side):
    """The rescaling against over-saturated pictures."""
    guided, cond = bench.randn(batch, 4, side, side), bench.randn(batch, 4, side, side)
    bench.katas(lambda kata: partial(kata.rescale_guidance, guided, cond, 0.7))
    bench.adapted("diffusers", lambda adapter: partial(adapter.rescale_guidance, guided, cond, 0.7))
    bench.same()
    bench.floor(bytes=4 * guided.nbytes)  # both read for their deviations, guided read again, one written
