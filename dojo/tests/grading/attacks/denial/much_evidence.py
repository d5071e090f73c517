"""A result of 40 MB.

kata: top_k_sampling
reason: too large to be sent
"""

import torch


def attack(*_, **__):
    return torch.zeros(10_000_000)


top_k_filter = sample_top_k = attack
