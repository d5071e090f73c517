"""Everything in numpy's float64; torch only carries the results."""

import numpy as np
import torch


def linear_betas(steps, start=1e-4, end=0.02):
    if steps < 1 or not 0 < min(start, end) <= max(start, end) < 1:
        raise ValueError("a linear schedule needs a step, and ends between 0 and 1")
    return torch.from_numpy(np.linspace(start, end, steps))


def cosine_betas(steps, s=0.008, max_beta=0.999):
    if steps < 1 or s < 0 or max_beta <= 0 or max_beta > 1:
        raise ValueError("bad cosine schedule")
    u = np.linspace(0, 1, steps + 1)
    f = np.square(np.cos((u + s) / (1 + s) * np.pi / 2))
    abar = f / f[0]
    return torch.from_numpy(np.minimum(1 - abar[1:] / abar[:-1], max_beta))


def alphas_cumprod(betas):
    wide = betas.detach().cpu().to(torch.float64).numpy()
    return torch.from_numpy(np.cumprod(1.0 - wide, axis=0)).to(betas)


def snr(alphas_cumprod):
    abar = alphas_cumprod.detach().cpu().to(torch.float64).numpy()
    with np.errstate(divide="ignore"):
        return torch.from_numpy(abar / (1 - abar)).to(alphas_cumprod)
