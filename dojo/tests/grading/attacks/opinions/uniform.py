"""Each token with the same probability.

kata: temperature_sampling
reason: fail
"""

import torch


def temperature_probs(logits, *_, **__):
    return torch.full_like(logits, 1 / logits.shape[-1])


def sample_token(probs, *_, generator=None, **__):
    return torch.randint(probs.shape[-1], probs.shape[:-1], generator=generator)


gumbel_sample = sample_token
