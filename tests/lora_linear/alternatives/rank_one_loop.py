"""A beginner's reading of the formula: a sum of `rank` outer products, one after the other, and a mask made by hand."""

import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if rank < 1:
            raise ValueError("rank should be 1 or more")
        if math.isnan(dropout) or dropout < 0 or dropout >= 1:
            raise ValueError("dropout should be at least 0 and less than 1")
        self.base = base
        self.base.weight.requires_grad = False
        if self.base.bias is not None:
            self.base.bias.requires_grad = False
        a = torch.randn(rank, base.in_features) / math.sqrt(base.in_features)
        b = torch.zeros(base.out_features, rank)
        self.lora_A = nn.Parameter(a.to(base.weight))
        self.lora_B = nn.Parameter(b.to(base.weight))
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.merged = False

    def forward(self, x):
        result = self.base(x)
        if self.merged:
            return result
        if self.training and self.dropout > 0:
            keep = torch.rand_like(x) >= self.dropout
            x = torch.where(keep, x / (1 - self.dropout), torch.zeros_like(x))
        for i in range(self.rank):
            amount = (x * self.lora_A[i]).sum(dim=-1, keepdim=True)
            result = result + amount * self.lora_B[:, i] * self.alpha / self.rank
        return result

    def update(self):
        total = torch.zeros_like(self.base.weight)
        for i in range(self.rank):
            total += torch.outer(self.lora_B[:, i], self.lora_A[i]) * self.alpha / self.rank
        return total

    def merge(self):
        with torch.no_grad():
            if not self.merged:
                self.base.weight.copy_(self.base.weight + self.update())
        self.merged = True

    def unmerge(self):
        with torch.no_grad():
            if self.merged:
                self.base.weight.copy_(self.base.weight - self.update())
        self.merged = False
