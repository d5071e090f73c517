"""einsum throughout, orthogonal rows in A, and a copy of W kept while merged: unmerging restores it to the last bit."""

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0):
        if not (rank >= 1 and 0.0 <= dropout < 1.0):
            raise ValueError(f"cannot make an adapter of rank {rank} and dropout {dropout}")
        super().__init__()
        self.base = base
        base.weight.requires_grad_(False)
        if base.bias is not None:
            base.bias.requires_grad_(False)
        # QR is not written for half precision: draw in float32 and convert.
        start = nn.init.orthogonal_(torch.empty(rank, base.in_features, device=base.weight.device))
        self.lora_A = nn.Parameter(start.to(base.weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros_like(base.weight[:, :1]).repeat(1, rank))
        self.p, self.scale, self.backup = dropout, alpha / rank, None

    @property
    def merged(self):
        return self.backup is not None

    def forward(self, x):
        weight, bias = self.base.weight, self.base.bias
        y = torch.einsum("...i,oi->...o", x, weight)
        if bias is not None:
            y = y + bias
        if self.merged:
            return y
        dropped = nn.functional.dropout(x, self.p, self.training)
        hidden = torch.einsum("...i,ri->...r", dropped, self.lora_A)
        return y + torch.einsum("...r,or->...o", hidden, self.scale * self.lora_B)

    @torch.no_grad()
    def merge(self):
        if not self.merged:
            self.backup = self.base.weight.clone()
            update = torch.einsum("or,ri->oi", self.lora_B, self.lora_A)
            self.base.weight.copy_(self.backup + self.scale * update)

    @torch.no_grad()
    def unmerge(self):
        if self.merged:
            self.base.weight.copy_(self.backup)
            self.backup = None
