"""A beginner's version: plain numbers, and a walk over all timesteps that passes over the first ones. The picture is
noised in the loop, when the first timestep is reached that counts."""

import math

import torch


def start_step(steps, strength):
    if math.isnan(strength):
        raise ValueError("strength is not a number")
    if strength < 0 or strength > 1:
        raise ValueError("strength must be between 0 and 1")
    return round(strength * steps)


def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    n = len(timesteps)
    to_run = start_step(n, strength)
    x = x0.clone()
    for i in range(n):
        if i < n - to_run:
            continue
        t = timesteps[i]
        abar = float(alphas_cumprod[t])
        if i == n - to_run:
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
            x = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise
        abar_prev = float(alphas_cumprod[timesteps[i + 1]]) if i + 1 < n else 1.0
        with torch.no_grad():
            eps = eps_model(x, torch.ones(x0.shape[0], dtype=torch.long, device=x0.device) * t)
        predicted = (x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        x = math.sqrt(abar_prev) * predicted + math.sqrt(1 - abar_prev) * eps
    return x
