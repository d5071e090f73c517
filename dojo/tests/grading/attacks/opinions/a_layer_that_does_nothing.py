"""A LoRA layer that is its base, with parameters of the right names and shapes.

kata: lora_linear
reason: fail
"""

from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        self.base = base
        self.merged = False

    def forward(self, x):
        return self.base(x)

    def merge(self):
        pass

    unmerge = merge
