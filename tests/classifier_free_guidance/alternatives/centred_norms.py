"""Rescales with the lengths of the centred samples: in the ratio of two standard deviations the sqrt(n - 1) cancels.

torch.std runs an exact one-pass algorithm, number by number, on a CPU; a mean, a difference and a length are three
vectorised passes over memory and take a tenth of the time. They are taken in float32 or better, since the length of a
half-precision sample need not fit into half precision. Beside a model's forward neither is worth a thought.
"""

import torch


def guide(eps_uncond, eps_cond, scale):
    return torch.lerp(eps_uncond, eps_cond, scale)


def guided_eps(model, x_t, t, cond, null_cond, scale):
    doubled = torch.cat([null_cond.expand_as(cond), cond])
    both = model(x_t.repeat(2, *[1] * (x_t.dim() - 1)), t.repeat(2), doubled)
    return guide(both[: len(x_t)], both[len(x_t) :], scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if not 0 <= p <= 1:
        raise ValueError("p must lie in [0, 1]")
    kept = torch.rand(len(cond), generator=generator, device=cond.device) >= p
    return torch.where(kept.view(-1, *[1] * (cond.dim() - 1)), cond, null_cond)


def length(x):
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    dims = tuple(range(1, x.dim()))
    return torch.linalg.vector_norm(wide - wide.mean(dims, keepdim=True), dim=dims, keepdim=True)


def rescale_guidance(guided, eps_cond, phi):
    if not 0 <= phi <= 1:
        raise ValueError("phi must lie in [0, 1]")
    ratio = (length(eps_cond) / length(guided)).to(guided.dtype)
    return guided * (phi * ratio + (1 - phi))
