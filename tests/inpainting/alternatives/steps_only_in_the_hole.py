"""Keeps the hole alone, as a flat vector, and puts a whole picture together only for the model: what the known region
would become in a step is never computed. All noise is drawn in advance, in float64."""

from itertools import pairwise

import torch


def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    try:
        fits = torch.broadcast_shapes(mask.shape, x0.shape) == x0.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"a mask of shape {tuple(mask.shape)} for pictures of shape {tuple(x0.shape)}")
    hole = (mask != 0) & torch.ones(x0.shape, dtype=torch.bool, device=x0.device)
    wide = alphas_cumprod.double()
    options = {"generator": generator, "dtype": torch.float64, "device": x0.device}
    start, *noises = torch.randn((len(timesteps) + 1, *x0.shape), **options).to(x0.dtype)
    painted = start[hole]
    with torch.inference_mode():
        for noise, (t, t_prev) in zip(noises, pairwise((*timesteps, -1)), strict=True):
            now, then = wide[t], wide[t_prev] if t_prev > -1 else wide.new_tensor(1.0)
            shown = now.sqrt() * x0 + (1 - now).sqrt() * noise
            shown = shown.masked_scatter(hole, painted)
            eps = eps_model(shown, torch.full(x0.shape[:1], t, device=x0.device))[hole]
            kept = (then / now).sqrt()
            painted = kept * painted + ((1 - then).sqrt() - kept * (1 - now).sqrt()) * eps
    return x0.detach().masked_scatter(hole, painted.clone())
