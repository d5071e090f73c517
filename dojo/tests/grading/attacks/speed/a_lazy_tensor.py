"""Returns at once a tensor that computes when somebody looks, and then only zeros.

kata: top_k_sampling
reason: expected
"""

import torch


class Later(torch.Tensor):
    @staticmethod
    def __new__(cls, like):
        return torch.zeros_like(like).as_subclass(cls)

    def __repr__(self):
        return "computed"


def attack(logits, *_, **__):
    return Later(logits)


top_k_filter = sample_top_k = attack
