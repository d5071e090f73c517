"""All schedule arithmetic in numpy's float64; torch only multiplies images. The sampler works its weights out
beforehand and has no step function."""

import numpy as np
import torch


def ddim_timesteps(steps, count):
    if not 1 <= count <= steps:
        raise ValueError("bad count")
    return (np.arange(count) * steps // count)[::-1].tolist()


def weights(now, then, eta):
    variance = eta**2 * (1 - then) / (1 - now) * (1 - now / then)
    return np.sqrt(now), np.sqrt(1 - now), np.sqrt(then), np.sqrt(1 - then - variance), np.sqrt(variance)


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    if not 0 <= eta <= 1 or (eta > 0 and noise is None):
        raise ValueError("eta and noise do not fit")
    steps = [tensor.detach().cpu().numpy() for tensor in (t, t_prev)]
    if any(step.shape != (x_t.shape[0],) for step in steps):
        raise ValueError("wrong shape of t or t_prev")
    abar = np.append(alphas_cumprod.detach().cpu().double().numpy(), 1.0)  # at -1: clean
    shape = (-1,) + (1,) * (x_t.dim() - 1)
    signal, spread, kept, direction, sigma = (
        torch.as_tensor(w).to(device=x_t.device, dtype=x_t.dtype).reshape(shape)
        for w in weights(abar[steps[0]], abar[steps[1]], eta)
    )
    out = kept * ((x_t - spread * eps) / signal) + direction * eps
    return out + sigma * noise if eta > 0 else out


def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    grid = np.array(timesteps, dtype=np.int64)
    if not 0 <= eta <= 1:
        raise ValueError("eta")
    if not len(grid) or grid.max() >= len(alphas_cumprod) or grid.min() < 0 or (np.diff(grid) >= 0).any():
        raise ValueError("timesteps")
    abar = alphas_cumprod.detach().cpu().double().numpy()[grid]
    table = np.stack(weights(abar, np.append(abar[1:], 1.0), eta), 1).tolist()
    options = {"generator": generator, "dtype": alphas_cumprod.dtype, "device": alphas_cumprod.device}
    x = torch.randn(shape, **options)
    with torch.no_grad():
        for step, (signal, spread, kept, direction, sigma) in zip(grid.tolist(), table, strict=True):
            eps = eps_model(x, torch.tensor([step] * shape[0], device=x.device))
            x = kept / signal * (x - spread * eps) + direction * eps
            if sigma > 0:
                x = x + sigma * torch.randn(shape, **options)
    return x
