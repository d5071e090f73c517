"""With DDPM's q_sample and DDIM's step for t of shape [batch], as in the katas before: int64 tensors all the way, and
coefficients looked up for each element, in float64, cast when they are finished. strength 0 gives x0 itself."""

from itertools import pairwise

import torch


def per_element(values, x):
    return values.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))


def q_sample(x0, t, noise, abar):
    return per_element(abar[t].sqrt(), x0) * x0 + per_element((1 - abar[t]).sqrt(), x0) * noise


def step(x, eps, t, t_prev, abar):
    now, then = abar[t], torch.where(t_prev < 0, 1.0, abar[t_prev])
    x0 = (x - per_element((1 - now).sqrt(), x) * eps) / per_element(now.sqrt(), x)
    return q_sample(x0, torch.arange(len(x)), eps, then)


def start_step(steps, strength):
    if strength != strength or strength < 0 or strength > 1:
        raise ValueError(f"cannot run a share of {strength}")
    return round(steps * strength)


@torch.no_grad()
def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    count = start_step(len(timesteps), strength)
    if count == 0:
        return x0
    grid = torch.tensor([*timesteps[len(timesteps) - count :], -1], device=x0.device)
    grid = grid[:, None].expand(-1, len(x0))  # [count + 1, batch]
    wide = alphas_cumprod.double()
    noise = torch.empty_like(x0, memory_format=torch.contiguous_format).normal_(generator=generator)
    x = q_sample(x0, grid[0], noise, wide)
    for t, t_prev in pairwise(grid):
        x = step(x, eps_model(x, t), t, t_prev, wide)
    return x
