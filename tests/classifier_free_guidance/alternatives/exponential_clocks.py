"""A row is dropped when its exponential clock rings before -log(1 - p); guidance as a weighted sum over a new axis."""

import math

import torch


def guide(eps_uncond, eps_cond, scale):
    weights = torch.tensor([1 - scale, scale], dtype=torch.float64)
    both = torch.stack([eps_uncond, eps_cond], dim=-1).double()
    return (both * weights).sum(-1).to(eps_cond.dtype)


def guided_eps(model, x_t, t, cond, null_cond, scale):
    shape = (2, *cond.shape)
    conds = torch.stack([null_cond.expand_as(cond), cond]).reshape(-1, *shape[2:])
    eps = model(x_t.expand(2, *x_t.shape).flatten(0, 1), t.expand(2, -1).flatten(), conds)
    return guide(*eps.unflatten(0, (2, -1)), scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if not 0 <= p <= 1:
        raise ValueError("p outside [0, 1]")
    limit = -math.log1p(-p) if p < 1 else math.inf
    clocks = torch.empty(len(cond), dtype=torch.float64).exponential_(generator=generator)
    return torch.where((clocks < limit)[(..., *[None] * (cond.dim() - 1))], null_cond, cond)


def rescale_guidance(guided, eps_cond, phi):
    if not 0 <= phi <= 1:
        raise ValueError("phi outside [0, 1]")
    per_sample = torch.vmap(lambda g, c: g * c.std() / g.std())
    return phi * per_sample(guided, eps_cond) + (1 - phi) * guided
