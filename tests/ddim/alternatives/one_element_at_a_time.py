"""A beginner's version: plain Python numbers, a loop over the batch, torch.stack. The model sees the whole batch."""

import math

import torch


def ddim_timesteps(steps, count):
    if count < 1 or count > steps:
        raise ValueError("count must be between 1 and steps")
    grid = []
    for i in range(count):
        grid.insert(0, i * steps // count)
    return grid


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    if eta < 0 or eta > 1 or math.isnan(eta):
        raise ValueError("eta is between 0 and 1")
    if eta != 0 and noise is None:
        raise ValueError("no noise given")
    if list(t.shape) != [len(x_t)] or list(t_prev.shape) != [len(x_t)]:
        raise ValueError("t and t_prev need one entry for each image")
    rows = []
    for i in range(len(x_t)):
        abar = float(alphas_cumprod[t[i]])
        before = 1.0 if t_prev[i] == -1 else float(alphas_cumprod[t_prev[i]])
        sigma = eta * math.sqrt((1 - before) / (1 - abar)) * math.sqrt(1 - abar / before)
        x0 = (x_t[i] - math.sqrt(1 - abar) * eps[i]) / math.sqrt(abar)
        row = math.sqrt(before) * x0 + math.sqrt(1 - before - sigma**2) * eps[i]
        if eta > 0:
            row = row + sigma * noise[i]
        rows.append(row)
    return torch.stack(rows)


def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    if len(timesteps) == 0:
        raise ValueError("no timesteps")
    for i in range(len(timesteps)):
        if timesteps[i] < 0 or timesteps[i] >= len(alphas_cumprod):
            raise ValueError("timestep outside the schedule")
        if i > 0 and timesteps[i] >= timesteps[i - 1]:
            raise ValueError("timesteps must go down")
    x = torch.randn(shape, generator=generator, dtype=alphas_cumprod.dtype, device=alphas_cumprod.device)
    for i in range(len(timesteps)):
        t = torch.ones(shape[0], dtype=torch.long, device=x.device) * timesteps[i]
        t_prev = torch.full_like(t, timesteps[i + 1] if i + 1 < len(timesteps) else -1)
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        x = ddim_step(x, eps_model(x, t).detach(), t, t_prev, alphas_cumprod, eta, noise)
    return x
