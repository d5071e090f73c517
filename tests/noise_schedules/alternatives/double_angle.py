"""The squared cosine by the double angle, (1 + cos 2x) / 2; abar as a running product of tensors, stacked; betas from
abar and its shifted self; snr from the two weights of q_sample."""

import torch


def _positive(steps):
    if steps <= 0:
        raise ValueError("a schedule has steps")


def linear_betas(steps, start=1e-4, end=0.02):
    _positive(steps)
    if any(not 0 < beta < 1 for beta in (start, end)):
        raise ValueError("a beta is a share")
    ends = torch.tensor([start, end], dtype=torch.float64)
    weight = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    return torch.stack([1 - weight, weight], 1) @ ends


def cosine_betas(steps, s=0.008, max_beta=0.999):
    _positive(steps)
    if s < 0 or not 0 < max_beta <= 1:
        raise ValueError("s or max_beta out of range")
    x = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    doubled = torch.pi * (x / steps + s) / (1 + s)
    f = (1 + doubled.cos()) / 2
    abar = f[1:] / f[0]
    previous = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
    return torch.clamp((previous - abar) / previous, 0.0, max_beta)


def alphas_cumprod(betas):
    product = torch.ones((), dtype=torch.float64, device=betas.device)
    rows = []
    for beta in betas:
        product = product * (1 - beta.double())
        rows.append(product)
    return torch.stack(rows).to(betas.dtype)


def snr(alphas_cumprod):
    wide = alphas_cumprod.double()
    signal, noise = wide.sqrt(), (1 - wide).sqrt()
    return ((signal / noise) ** 2).to(alphas_cumprod.dtype)
