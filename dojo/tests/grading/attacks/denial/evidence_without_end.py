"""A result that takes for ever to be read.

kata: top_k_sampling
reason: it was still running
"""

import torch


class Slow(torch.Tensor):
    def detach(self):
        while True:
            pass


def attack(logits, *_, **__):
    return logits.as_subclass(Slow)


top_k_filter = sample_top_k = attack
