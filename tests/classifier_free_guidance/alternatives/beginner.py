"""Step by step, with boolean indexing on a clone, and torch.var under a root."""

import torch


def guide(eps_uncond, eps_cond, scale):
    direction = eps_cond - eps_uncond
    return eps_uncond + direction * scale


def guided_eps(model, x_t, t, cond, null_cond, scale):
    batch = x_t.shape[0]
    all_null = null_cond.expand_as(cond).clone()
    x_twice = torch.cat([x_t, x_t], dim=0)
    t_twice = torch.cat([t, t], dim=0)
    cond_twice = torch.cat([cond, all_null], dim=0)
    eps = model(x_twice, t_twice, cond_twice)
    return guide(eps[batch:], eps[:batch], scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if p < 0 or p > 1 or p != p:
        raise ValueError("p must be between 0 and 1")
    out = cond.clone()
    chosen = torch.rand(cond.shape[0], generator=generator) < p
    out[chosen] = null_cond.expand_as(cond)[chosen]
    return out


def rescale_guidance(guided, eps_cond, phi):
    if phi < 0 or phi > 1 or phi != phi:
        raise ValueError("phi must be between 0 and 1")
    dims = list(range(1, guided.dim()))
    std_cond = torch.sqrt(torch.var(eps_cond, dim=dims, keepdim=True))
    std_guided = torch.sqrt(torch.var(guided, dim=dims, keepdim=True))
    rescaled = guided / std_guided * std_cond
    return guided + phi * (rescaled - guided)
