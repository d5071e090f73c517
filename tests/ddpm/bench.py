"""The floor is memory traffic: both images in, one out. A model that costs nothing leaves what the step itself adds.
diffusers' step is for one timestep, so all images are at the same one; it looks its coefficients up on the host."""

from functools import partial

import torch

from dojo.testing.bench import work

STEPS = 1000
BETAS = torch.linspace(1e-4, 0.02, STEPS)


def image_by_image(x0, t, noise, abar):
    rows = zip(x0, t.tolist(), noise, strict=True)
    return torch.stack([abar[i].item() ** 0.5 * x + (1 - abar[i].item()) ** 0.5 * e for x, i, e in rows])


def product_for_each_image(eps, x_t, t, betas):
    """Every image multiplies its own way through the schedule."""
    rows = []
    for x, e, i in zip(x_t, eps, t.tolist(), strict=True):
        abar, before = (1 - betas[: i + 1]).prod(), (1 - betas[:i]).prod()
        mean = (x - betas[i] / (1 - abar).sqrt() * e) / (1 - betas[i]).sqrt()
        rows.append(mean + (betas[i] * (1 - before) / (1 - abar)).sqrt() * torch.randn_like(x) * (i > 0))
    return torch.stack(rows)


def scheduler(**config):
    from diffusers import DDPMScheduler

    return DDPMScheduler(trained_betas=BETAS.numpy(), **config)


SWEEP = {"batch": (1, 4, 64), "side": (16, 32, 128)}
GROWTH = {"grows": {"batch": 1, "side": 2}, "tiny": {"batch": 4, "side": 64}}


@work(batch=16, side=64, sweep=SWEEP, gpu={"batch": 64, "side": 512}, **GROWTH)
def noise(bench, batch, side):
    """q_sample of images with three channels."""
    x0, eps = bench.randn(batch, 3, side, side), bench.randn(batch, 3, side, side)
    t, abar = bench.randint(STEPS, batch), (1 - BETAS.double()).cumprod(0).float().to(bench.device)
    bench.katas(lambda kata: partial(kata.q_sample, x0, t, eps, abar))
    bench.way("naive: image by image", partial(image_by_image, x0, t, eps, abar))
    bench.peer("diffusers", lambda: partial(scheduler().add_noise, x0, eps, t))
    bench.same(rtol=1e-3, atol=1e-3)  # float32 schedules differ by 4e-4
    bench.floor(bytes=3 * x0.nbytes)


@work(batch=16, side=64, sweep=SWEEP, **GROWTH)
def reverse_step(bench, batch, side):
    """p_sample of images with three channels, with a model that costs nothing."""
    eps, x = bench.randn(batch, 3, side, side), bench.randn(batch, 3, side, side)
    t, betas = torch.full((batch,), STEPS // 2, device=bench.device), BETAS.to(bench.device)
    bench.katas(lambda kata: partial(kata.p_sample, lambda *_: eps, x, t, betas))
    bench.way("naive: a product an image", partial(product_for_each_image, eps, x, t, betas))
    bench.peer("diffusers", lambda: diffusers_step(eps, x))
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=3 * x.nbytes)


def diffusers_step(eps, x):
    made = scheduler(clip_sample=False)
    return lambda: made.step(eps, STEPS // 2, x).prev_sample
