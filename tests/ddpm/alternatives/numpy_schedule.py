"""All schedule arithmetic in numpy's float64, whatever the schedule's dtype; torch only multiplies images. Noise is drawn
for the noisy rows alone, and the timesteps are the entries of an array."""

import numpy as np
import torch


def array(schedule):
    return schedule.detach().cpu().double().numpy()


def spread_out(values, t, like):
    steps = t.detach().cpu().numpy()
    if steps.shape != (like.shape[0],):
        raise ValueError("t is not [batch]")
    picked = values[steps].reshape((-1,) + (1,) * (like.dim() - 1))
    return torch.as_tensor(picked).to(device=like.device, dtype=like.dtype)


def coefficients(betas):
    betas = array(betas)
    abar = np.cumprod(1 - betas)
    previous = np.concatenate([[1.0], abar[:-1]])
    return abar, np.sqrt(previous) * betas / (1 - abar), np.sqrt(1 - betas) * (1 - previous) / (1 - abar), previous


def q_sample(x0, t, noise, alphas_cumprod):
    abar = array(alphas_cumprod)
    return spread_out(np.sqrt(abar), t, x0) * x0 + spread_out(np.sqrt(1 - abar), t, x0) * noise


def predict_x0(x_t, t, eps, alphas_cumprod):
    abar = array(alphas_cumprod)
    return (x_t - spread_out(np.sqrt(1 - abar), t, x_t) * eps) / spread_out(np.sqrt(abar), t, x_t)


def q_posterior(x0, x_t, t, betas):
    abar, c0, ct, previous = coefficients(betas)
    mean = spread_out(c0, t, x_t) * x0 + spread_out(ct, t, x_t) * x_t
    return mean, spread_out(array(betas) * (1 - previous) / (1 - abar), t, x_t)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    abar, c0, ct, previous = coefficients(betas)
    match variance:
        case "posterior":
            std = np.sqrt(array(betas) * (1 - previous) / (1 - abar))
        case "beta":
            std = np.sqrt(array(betas))
        case _:
            raise ValueError(f"no such variance: {variance}")
    eps = eps_model(x_t, t)
    x0 = (x_t - spread_out(np.sqrt(1 - abar), t, x_t) * eps) / spread_out(np.sqrt(abar), t, x_t)
    x0 = x0.clamp(-1, 1) if clip_x0 else x0
    sample = spread_out(c0, t, x_t) * x0 + spread_out(ct, t, x_t) * x_t
    noisy = t.nonzero().flatten()
    noise = torch.randn((len(noisy), *x_t.shape[1:]), generator=generator, dtype=x_t.dtype, device=x_t.device)
    return sample.index_add(0, noisy, spread_out(std, t, x_t)[noisy] * noise)


def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    with torch.inference_mode():
        x = torch.randn(shape, generator=generator, dtype=betas.dtype, device=betas.device)
        descending = np.arange(len(betas))[::-1].copy()
        for step in descending if progress is None else progress(descending):
            x = p_sample(eps_model, x, torch.full((shape[0],), int(step), device=x.device), betas, generator=generator)
    return x.clone()
