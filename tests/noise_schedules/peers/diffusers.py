"""diffusers' DDPMScheduler ("linear" and "squaredcos_cap_v2") and compute_snr. The scheduler keeps float32 and knows no
other s than 0.008, so it cannot answer alone: what is returned is float64 from here, and wherever diffusers has an answer
to the same question, that answer must be this one, to the digits that float32 leaves it. The ratios are its own."""

import math
from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar
from diffusers.training_utils import compute_snr

EPS = torch.finfo(torch.float32).eps


def agreed(numbers, theirs, tolerance):
    torch.testing.assert_close(theirs.double(), numbers, rtol=tolerance, atol=0.0)
    return numbers


def linear_betas(steps, start=1e-4, end=0.02):
    if steps < 1 or not 0 < start < 1 or not 0 < end < 1:
        raise ValueError("at least one step, and ends within (0, 1)")
    made = DDPMScheduler(steps, beta_start=start, beta_end=end, beta_schedule="linear")
    numbers = [start + (end - start) * t / max(steps - 1, 1) for t in range(steps)]
    return agreed(torch.tensor(numbers, dtype=torch.float64), made.betas, 4 * EPS)


def cosine_betas(steps, s=0.008, max_beta=0.999):
    if steps < 1 or s < 0 or not 0 < max_beta <= 1:
        raise ValueError("at least one step, s >= 0 and max_beta within (0, 1]")
    signal = [math.cos((t / steps + s) / (1 + s) * math.pi / 2) ** 2 for t in range(steps + 1)]
    numbers = [min(1 - signal[t + 1] / signal[t], max_beta) for t in range(steps)]
    numbers = torch.tensor(numbers, dtype=torch.float64)
    if s != 0.008:
        return numbers
    if max_beta == 0.999:
        agreed(numbers, DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2").betas, 4 * EPS)
    return agreed(numbers, betas_for_alpha_bar(steps, max_beta), 4 * EPS)


def alphas_cumprod(betas):
    """The scheduler multiplies in float32, where each step may round: the bound grows with their number."""
    made = DDPMScheduler(trained_betas=betas.tolist())
    numbers = agreed(torch.cumprod(1 - betas.double(), 0), made.alphas_cumprod, 2 * len(betas) * EPS)
    return numbers.to(betas.dtype)


def snr(alphas_cumprod):
    """compute_snr rounds both roots to float32."""
    signal = alphas_cumprod.double()
    theirs = compute_snr(SimpleNamespace(alphas_cumprod=signal), torch.arange(len(signal)))
    return agreed(signal / (1 - signal), theirs, 16 * EPS).to(alphas_cumprod.dtype)
