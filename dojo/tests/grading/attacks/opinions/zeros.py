"""Zeros of the right shape and dtype.

kata: ddpm
reason: fail
"""

import torch


def q_sample(x, *_, **__):
    return torch.zeros_like(x)


predict_x0 = q_sample


def q_posterior(x, *_, **__):
    return torch.zeros_like(x), torch.zeros_like(x)


def p_sample(model, x, *_, **__):
    return torch.zeros_like(x)


def p_sample_loop(model, shape, *_, **__):
    return torch.zeros(shape)
