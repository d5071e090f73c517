"""Rows in pairs (condition, null) instead of halves; lerp; Bernoulli draws; population standard deviations."""

import torch


def guide(eps_uncond, eps_cond, scale):
    return torch.lerp(eps_uncond, eps_cond, scale)


def guided_eps(model, x_t, t, cond, null_cond, scale):
    pairs = torch.stack([cond, null_cond.broadcast_to(cond.shape)], dim=1).flatten(0, 1)
    eps = model(x_t.repeat_interleave(2, dim=0), t.repeat_interleave(2), pairs)
    return guide(eps[1::2], eps[0::2], scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"not a probability: {p}")
    drop = torch.full((len(cond),), float(p)).bernoulli(generator=generator).bool()
    for _ in range(cond.dim() - 1):
        drop = drop.unsqueeze(-1)
    return cond.where(~drop, null_cond)


def rescale_guidance(guided, eps_cond, phi):
    if not 0.0 <= phi <= 1.0:
        raise ValueError(f"not a weight: {phi}")
    size = [len(guided)] + [1] * (guided.dim() - 1)
    target = eps_cond.flatten(1).std(dim=1, correction=0).view(size)
    present = guided.flatten(1).std(dim=1, correction=0).view(size)
    return torch.lerp(guided, guided / present * target, phi)
