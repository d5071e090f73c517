"""Puts the known region back before the first call and after every step, with fresh noise, by writing into places picked
with a boolean mask. Noise is drawn for the known numbers only."""

import torch


def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    try:
        known = torch.broadcast_to(mask == 0, x0.shape)
    except RuntimeError:
        raise ValueError(f"mask {tuple(mask.shape)} for pictures {tuple(x0.shape)}") from None
    kind = {"generator": generator, "dtype": x0.dtype, "device": x0.device}
    values = x0[known].detach()
    levels = list(timesteps)

    def put_back(x, level):
        abar = float(alphas_cumprod[level])
        noise = torch.randn(values.shape, **kind)
        x[known] = abar**0.5 * values + (1 - abar) ** 0.5 * noise

    x = torch.randn(x0.shape, **kind)
    put_back(x, levels[0])
    while levels:
        t = levels.pop(0)
        with torch.no_grad():
            eps = eps_model(x, torch.full((len(x),), t, device=x.device))
        now, then = float(alphas_cumprod[t]), float(alphas_cumprod[levels[0]]) if levels else 1.0
        x = (then / now) ** 0.5 * (x - (1 - now) ** 0.5 * eps) + (1 - then) ** 0.5 * eps
        if levels:
            put_back(x, levels[0])
    x[known] = values
    return x
