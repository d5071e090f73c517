"""(1 - s) uncond + s cond, the conditional half first, and a mask made of arithmetic."""

import torch


def guide(eps_uncond, eps_cond, scale):
    return (1 - scale) * eps_uncond + scale * eps_cond


def guided_eps(model, x_t, t, cond, null_cond, scale):
    null = torch.zeros_like(cond) + null_cond
    out = model(x_t.repeat(2, *[1] * (x_t.ndim - 1)), t.repeat(2), torch.cat((cond, null), dim=0))
    eps_cond, eps_uncond = out[: len(x_t)], out[len(x_t) :]
    return guide(eps_uncond, eps_cond, scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if p < 0 or p > 1 or p != p:
        raise ValueError("p is a probability")
    keep = torch.rand(cond.shape[:1], generator=generator).ge(p).to(cond.dtype)
    keep = keep.view([-1] + [1] * (cond.ndim - 1))
    return keep * cond + (1 - keep) * null_cond


def rescale_guidance(guided, eps_cond, phi):
    if not (phi >= 0 and phi <= 1):
        raise ValueError("phi is a weight")
    axes = list(range(1, guided.ndim))
    rescaled = guided * eps_cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return phi * rescaled + (1 - phi) * guided
