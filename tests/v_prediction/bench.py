"""A training step's share: the target of v, and the weighted loss. The floors read the images once."""

from functools import partial

import torch

from dojo.testing.bench import work

STEPS = 1000
BETAS = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)


def image_by_image(x0, noise, t, abar):
    rows = [abar[i].sqrt() * e - (1 - abar[i]).sqrt() * x for x, e, i in zip(x0, noise, t.tolist(), strict=True)]
    return torch.stack(rows)


def diffusers_velocity(x0, noise, t):
    from diffusers import DDPMScheduler

    made = DDPMScheduler(trained_betas=BETAS.float().numpy())
    return lambda: made.get_velocity(x0, noise, t)


def sample_by_sample(prediction, target, weight):
    losses = [w * (p - y).square().mean() for p, y, w in zip(prediction, target, weight, strict=True)]
    return torch.stack(losses).mean()


@work(
    batch=16,
    side=64,
    sweep={"batch": (1, 4, 64), "side": (16, 32, 128)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 4, "side": 64},
)
def target(bench, batch, side):
    """The target of v for images with four channels."""
    x0, noise = bench.randn(batch, 4, side, side), bench.randn(batch, 4, side, side)
    abar, t = (1 - BETAS).cumprod(0).float().to(bench.device), bench.randint(STEPS, batch)
    bench.katas(lambda kata: partial(kata.prediction_target, x0, noise, t, abar, "v"))
    bench.way("naive: image by image", partial(image_by_image, x0, noise, t, abar))
    bench.peer("diffusers", lambda: diffusers_velocity(x0, noise, t))
    bench.same(rtol=1e-3, atol=1e-3)  # diffusers' schedule is made in float32
    bench.floor(bytes=3 * x0.nbytes)


@work(
    batch=16,
    side=64,
    sweep={"batch": (1, 4, 64), "side": (16, 32, 128)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 4, "side": 64},
)
def loss(bench, batch, side):
    """The weighted loss of a batch."""
    prediction, truth = bench.randn(batch, 4, side, side), bench.randn(batch, 4, side, side)
    weight = torch.linspace(0.1, 5, batch, device=bench.device)
    bench.katas(lambda kata: partial(kata.weighted_loss, prediction, truth, weight))
    bench.way("naive: sample by sample", partial(sample_by_sample, prediction, truth, weight))
    bench.same(rtol=1e-4, atol=1e-4)
    bench.floor(bytes=2 * prediction.nbytes)
