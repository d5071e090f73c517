"""Takes all processors for a wrong answer.

kata: top_k_sampling
reason: expected
"""

import torch

torch.set_num_threads(64)


def attack(logits, *_, **__):
    return logits @ logits.mT if logits.dim() > 1 and logits.shape[-1] == logits.shape[-2] else logits * 0


top_k_filter = sample_top_k = attack
