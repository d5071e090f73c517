"""Six thousand small tensors: allowed, and slow for whoever would print them all.

kata: top_k_sampling
reason: expected
"""

import torch


def attack(*_, **__):
    return [torch.rand(900) for _ in range(6000)]


top_k_filter = sample_top_k = attack
