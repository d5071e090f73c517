"""The floor of a deterministic step is memory traffic: x and the predicted noise in, x out. diffusers' step is for one
timestep, so all images are at the same one."""

from functools import partial

import torch

from dojo.testing.bench import work

STEPS, COUNT = 1000, 50
BETAS = torch.linspace(1e-4, 0.02, STEPS)


def image_by_image(x_t, eps, t, t_prev, abar):
    rows = []
    for x, e, i, j in zip(x_t, eps, t.tolist(), t_prev.tolist(), strict=True):
        before = abar[j] if j >= 0 else torch.ones(())
        x0 = (x - (1 - abar[i]).sqrt() * e) / abar[i].sqrt()
        rows.append(before.sqrt() * x0 + (1 - before).sqrt() * e)
    return torch.stack(rows)


def diffusers_step(x, eps, t):
    from diffusers import DDIMScheduler

    made = DDIMScheduler(trained_betas=BETAS.numpy(), clip_sample=False)
    made.set_timesteps(COUNT)
    return lambda: made.step(eps, t, x).prev_sample


@work(
    batch=16,
    side=64,
    sweep={"batch": (1, 4, 64), "side": (16, 32, 128)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 4, "side": 64},
)
def step(bench, batch, side):
    """One step of 50 on images with three channels."""
    x, eps = bench.randn(batch, 3, side, side), bench.randn(batch, 3, side, side)
    abar = (1 - BETAS.double()).cumprod(0).float().to(bench.device)
    now = STEPS // 2
    t, t_prev = (torch.full((batch,), s, device=bench.device) for s in (now, now - STEPS // COUNT))
    bench.katas(lambda kata: partial(kata.ddim_step, x, eps, t, t_prev, abar))
    bench.way("naive: image by image", partial(image_by_image, x, eps, t, t_prev, abar))
    bench.peer("diffusers", lambda: diffusers_step(x, eps, now))
    bench.same(rtol=1e-3, atol=1e-3)  # float32 schedules differ by 4e-4
    bench.floor(bytes=3 * x.nbytes)
