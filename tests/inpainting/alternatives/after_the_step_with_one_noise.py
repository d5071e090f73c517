"""Puts the known region back after each step, with the noise of the start every time, by multiplying with the mask; the
first call shows pure noise everywhere."""

import torch


@torch.no_grad()
def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    fits = mask.dim() <= x0.dim()
    for m, n in zip(reversed(mask.shape), reversed(x0.shape), strict=False):
        fits = fits and m in (1, n)
    if not fits:
        raise ValueError("the mask does not fit the pictures")
    mask = mask.to(x0.dtype)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x = noise
    for i, t in enumerate(timesteps):
        eps = eps_model(x, torch.tensor([t] * len(x0), device=x0.device))
        abar = alphas_cumprod[t]
        clean = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        if i + 1 < len(timesteps):
            abar_prev = alphas_cumprod[timesteps[i + 1]]
            x = abar_prev.sqrt() * clean + (1 - abar_prev).sqrt() * eps
            known = abar_prev.sqrt() * x0 + (1 - abar_prev).sqrt() * noise
        else:
            x, known = clean, x0
        x = (1 - mask) * known + mask * x
    return x
