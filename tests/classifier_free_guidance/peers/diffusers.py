"""diffusers' guider and its rescaling. Batching both halves and dropping conditions are left to its pipelines and
training scripts, so these are put together here."""

import torch
from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
from diffusers.guiders.guider_utils import rescale_noise_cfg


def guide(eps_uncond, eps_cond, scale):
    if scale == 1:  # where the guider, by design, expects no unconditional prediction at all
        return eps_cond
    return ClassifierFreeGuidance(guidance_scale=scale).forward(eps_cond, eps_uncond).pred


def guided_eps(model, x_t, t, cond, null_cond, scale):
    conds = torch.cat([null_cond.expand_as(cond), cond])
    return guide(*model(torch.cat([x_t] * 2), torch.cat([t] * 2), conds).chunk(2), scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1], got {p}")
    drop = torch.rand(cond.shape[0], generator=generator) < p
    return torch.where(drop.reshape(-1, *[1] * (cond.dim() - 1)), null_cond, cond)


def rescale_guidance(guided, eps_cond, phi):
    if not 0 <= phi <= 1:
        raise ValueError(f"phi must lie in [0, 1], got {phi}")
    return rescale_noise_cfg(guided, eps_cond, guidance_rescale=phi)
