"""The short one that most people write: @ and .T, Gaussian A, the scaling at the end, merging through .data."""

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if rank <= 0 or not (0.0 <= dropout and dropout < 1.0):
            raise ValueError("rank must be positive and dropout in [0, 1)")
        self.base = base
        for parameter in base.parameters():
            parameter.requires_grad = False
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features, **like) / rank)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, **like))
        self.lora_dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.alpha, self.rank = alpha, rank
        self.merged = False

    def forward(self, x):
        y = self.base(x)
        if not self.merged:
            y = y + self.alpha / self.rank * (self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T)
        return y

    def merge(self):
        if self.merged:
            return
        self.base.weight.data += self.alpha / self.rank * (self.lora_B.data @ self.lora_A.data)
        self.merged = True

    def unmerge(self):
        if not self.merged:
            return
        self.base.weight.data -= self.alpha / self.rank * (self.lora_B.data @ self.lora_A.data)
        self.merged = False
