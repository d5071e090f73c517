"""By a trigonometric identity: cos^2 a - cos^2 b = sin(b - a) sin(b + a), so nothing cancels where beta is small. The
running product is itertools.accumulate, and snr is 1 / (1/abar - 1)."""

from itertools import accumulate
from operator import mul

import torch


def linear_betas(steps, start=1e-4, end=0.02):
    if not (steps > 0 and 0 < start < 1 and 0 < end < 1):
        raise ValueError(f"no linear schedule of {steps} steps from {start} to {end}")
    betas = torch.full((steps,), start, dtype=torch.float64)
    if steps > 1:
        betas += torch.arange(steps, dtype=torch.float64) * ((end - start) / (steps - 1))
    return betas


def cosine_betas(steps, s=0.008, max_beta=0.999):
    if not (steps > 0 and s >= 0 and 0 < max_beta <= 1):
        raise ValueError(f"no cosine schedule of {steps} steps with s={s}, max_beta={max_beta}")
    turn = torch.pi / 2 / (1 + s)
    before = turn * (s + torch.arange(steps, dtype=torch.float64) / steps)
    after = before + turn / steps
    betas = torch.sin(after - before) * torch.sin(after + before) / before.cos() ** 2
    return torch.minimum(betas, torch.full_like(betas, max_beta))


def alphas_cumprod(betas):
    kept = [1 - beta for beta in betas.tolist()]
    return betas.new_tensor(list(accumulate(kept, mul)))


def snr(alphas_cumprod):
    return 1 / (alphas_cumprod.double().reciprocal() - 1).to(alphas_cumprod.dtype)
