"""The line of a training batch: its floor reads the data and the noise, and writes x_t and the velocity."""

from functools import partial

import torch

from dojo.testing.bench import work


def image_by_image(x0, noise, t):
    rows = [(1 - s) * a + s * b for a, b, s in zip(x0, noise, t.tolist(), strict=True)]
    return torch.stack(rows), noise - x0


def lerp(x0, noise, t):
    return torch.lerp(x0, noise, t[:, None, None, None]), noise - x0


@work(
    batch=16,
    side=64,
    sweep={"batch": (1, 4, 64), "side": (16, 32, 128)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 4, "side": 64},
)
def interpolate(bench, batch, side):
    """x_t and the velocity of images with four channels, each at a time of its own."""
    x0, noise = bench.randn(batch, 4, side, side), bench.randn(batch, 4, side, side)
    t = torch.linspace(0.05, 0.95, batch, device=bench.device)
    bench.katas(lambda kata: partial(kata.interpolate, x0, noise, t))
    bench.adapted("diffusers", lambda kata: partial(kata.interpolate, x0, noise, t))
    bench.way("naive: image by image", partial(image_by_image, x0, noise, t))
    bench.way("torch: lerp", partial(lerp, x0, noise, t))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=4 * x0.nbytes)
