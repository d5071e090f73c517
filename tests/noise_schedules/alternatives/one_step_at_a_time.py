"""A beginner's version: Python numbers, loops and lists, one step after the other."""

import math

import torch


def linear_betas(steps, start=1e-4, end=0.02):
    if steps < 1:
        raise ValueError("no steps")
    for beta in (start, end):
        if beta <= 0 or beta >= 1:
            raise ValueError("beta must be between 0 and 1")
    if steps == 1:
        return torch.tensor([start], dtype=torch.float64)
    betas = []
    for t in range(steps):
        share = t / (steps - 1)
        betas.append((1 - share) * start + share * end)
    return torch.tensor(betas, dtype=torch.float64)


def cosine_betas(steps, s=0.008, max_beta=0.999):
    if steps < 1:
        raise ValueError("no steps")
    if s < 0:
        raise ValueError("s is negative")
    if max_beta <= 0 or max_beta > 1:
        raise ValueError("max_beta must be in (0, 1]")

    def f(u):
        return math.cos((u + s) / (1 + s) * math.pi / 2) ** 2

    betas = []
    for t in range(steps):
        betas.append(min(1 - f((t + 1) / steps) / f(t / steps), max_beta))
    return torch.tensor(betas, dtype=torch.float64)


def alphas_cumprod(betas):
    product = 1.0
    abar = []
    for beta in betas.tolist():
        product = product * (1 - beta)
        abar.append(product)
    return torch.tensor(abar, dtype=betas.dtype, device=betas.device)


def snr(alphas_cumprod):
    ratios = []
    for abar in alphas_cumprod.tolist():
        ratios.append(abar / (1 - abar) if abar < 1 else math.inf)
    return torch.tensor(ratios, dtype=alphas_cumprod.dtype, device=alphas_cumprod.device)
