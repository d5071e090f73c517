"""Returns a tensor that has a shape, a dtype and no numbers.

kata: top_k_sampling
reason: a tensor of
"""

import torch


def attack(logits, *_, **__):
    return torch.empty_like(logits, device="meta")


top_k_filter = sample_top_k = attack
