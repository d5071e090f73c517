"""A beginner's version: the known region is put back before each step, in a loop over the pictures; the model sees the
whole batch. One fixed noise for the known region, another for the start."""

import math

import torch


def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    if mask.dim() > x0.dim():
        raise ValueError("the mask has too many dimensions")
    full_mask = mask
    while full_mask.dim() < x0.dim():
        full_mask = full_mask.unsqueeze(0)
    for d in range(x0.dim()):
        if full_mask.shape[d] != x0.shape[d]:
            if full_mask.shape[d] != 1:
                raise ValueError(f"the mask has size {full_mask.shape[d]} in dimension {d}, the picture {x0.shape[d]}")
            full_mask = torch.cat([full_mask] * x0.shape[d], dim=d)
    start = [torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device) for p in x0]
    noise = [torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device) for p in x0]
    x = torch.stack(start)
    for i in range(len(timesteps)):
        abar = float(alphas_cumprod[timesteps[i]])
        joined = []
        for j in range(len(x0)):
            noised = math.sqrt(abar) * x0[j] + math.sqrt(1 - abar) * noise[j]
            joined.append(torch.where(full_mask[j] == 1, x[j], noised))
        x = torch.stack(joined).detach()
        t = torch.zeros(len(x0), dtype=torch.int64, device=x0.device) + timesteps[i]
        eps = eps_model(x, t).detach()
        clean = (x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        if i == len(timesteps) - 1:
            x = clean
        else:
            abar_prev = float(alphas_cumprod[timesteps[i + 1]])
            x = math.sqrt(abar_prev) * clean + math.sqrt(1 - abar_prev) * eps
    return torch.where(full_mask == 1, x, x0).detach()
