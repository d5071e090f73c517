"""By the posterior that the paper defines, q(x_t' | x_t, x_0): its mean is a point between x_t and x_0, its spread
sigma. The direction is what is left of x_t without the predicted x0."""

from itertools import pairwise

import torch


def ddim_timesteps(steps, count):
    if count < 1 or steps < count:
        raise ValueError(f"{count} of {steps} timesteps?")
    return list(reversed([(i * steps) // count for i in range(count)]))


def alpha_bar(schedule, steps, x):
    if steps.shape != (x.size(0),):
        raise ValueError("steps must be [batch]")
    values = schedule.index_select(0, steps.clamp(min=0)).masked_fill(steps == -1, 1.0)
    return values[(...,) + (None,) * (x.dim() - 1)]


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    if eta != min(max(eta, 0), 1):
        raise ValueError("eta must lie in [0, 1]")
    now, then = alpha_bar(alphas_cumprod, t, x_t), alpha_bar(alphas_cumprod, t_prev, x_t)
    sigma = torch.sqrt((1 - then) / (1 - now)) * torch.sqrt(1 - now / then) * eta
    shrink = torch.sqrt(1 - then - sigma * sigma) / torch.sqrt(1 - now)
    dtype = x_t.dtype
    x0 = (x_t - (1 - now).sqrt().to(dtype) * eps) / now.sqrt().to(dtype)
    mean = then.sqrt().to(dtype) * x0 + shrink.to(dtype) * (x_t - now.sqrt().to(dtype) * x0)
    if eta == 0:
        return mean
    if noise is None:
        raise ValueError("a stochastic step needs noise")
    return mean + sigma.to(dtype) * noise


@torch.no_grad()
def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    bounds = [len(alphas_cumprod), *timesteps]
    if len(bounds) == 1 or min(timesteps) < 0 or any(b - a >= 0 for a, b in pairwise(bounds)):
        raise ValueError("timesteps must be a falling grid within the schedule")
    x = torch.normal(
        0.0, 1.0, tuple(shape), generator=generator, dtype=alphas_cumprod.dtype, device=alphas_cumprod.device
    )
    for i, step in enumerate(timesteps):
        t = x.new_full(shape[:1], step, dtype=torch.int64)
        last = i == len(timesteps) - 1
        t_prev = t.new_full(t.shape, -1 if last else timesteps[i + 1])
        z = torch.normal(0.0, 1.0, tuple(shape), generator=generator, dtype=x.dtype, device=x.device)
        x = ddim_step(x, eps_model(x, t), t, t_prev, alphas_cumprod, eta, z)
    return x
