"""In logarithms: abar is the exponential of a sum, and snr the exponential of a logit."""

import torch


def check(condition, sentence):
    if not condition:
        raise ValueError(sentence)


def linear_betas(steps, start=1e-4, end=0.02):
    check(steps >= 1, "steps >= 1")
    check(0 < start < 1, "0 < start < 1")
    check(0 < end < 1, "0 < end < 1")
    weights = torch.linspace(0, 1, steps, dtype=torch.float64)
    return torch.lerp(torch.tensor(start, dtype=torch.float64), torch.tensor(end, dtype=torch.float64), weights)


def cosine_betas(steps, s=0.008, max_beta=0.999):
    check(steps >= 1, "steps >= 1")
    check(s >= 0, "s >= 0")
    check(0 < max_beta <= 1, "0 < max_beta <= 1")
    edges = torch.linspace(s, 1 + s, steps + 1, dtype=torch.float64) / (1 + s) * torch.pi / 2
    return torch.clip(-torch.expm1(2 * edges.cos().abs().log().diff()), max=max_beta)


def alphas_cumprod(betas):
    return torch.log1p(-betas.to(torch.float64)).cumsum(-1).exp().type_as(betas)


def snr(alphas_cumprod):
    return torch.logit(alphas_cumprod.to(torch.float64)).exp().type_as(alphas_cumprod)
