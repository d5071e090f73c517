"""Merging by measurement: the branch applied to the unit vectors is its matrix, whatever the branch looks like inside.
The update is kept, so that unmerging subtracts the very numbers that were added. Here alpha / rank is folded into A."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if int(rank) < 1:
            raise ValueError("at least one direction is needed")
        if not 0 <= dropout < 1:
            raise ValueError("not a probability of dropping")
        self.base = base
        for tensor in (base.weight, base.bias):
            if tensor is not None:
                tensor.requires_grad_(False)
        rng = np.random.default_rng()
        start = torch.from_numpy(rng.uniform(-1, 1, (rank, base.in_features))).mul_(base.in_features**-0.5)
        self.lora_A = nn.Parameter(start.to(device=base.weight.device, dtype=base.weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank).to(self.lora_A))
        self.scaling, self.p, self.update = alpha / rank, dropout, None

    @property
    def merged(self) -> bool:
        return self.update is not None

    def branch(self, x, training):
        return F.linear(F.linear(F.dropout(x, self.p, training), self.lora_A * self.scaling), self.lora_B)

    def forward(self, x):
        return self.base(x) if self.merged else torch.add(self.base(x), self.branch(x, self.training))

    def merge(self):
        if self.update is None:
            with torch.no_grad():
                unit = torch.eye(self.base.in_features).to(self.lora_A)
                self.update = self.branch(unit, training=False).T  # [in, out] -> [out, in]
                self.base.weight += self.update

    def unmerge(self):
        if self.update is not None:
            with torch.no_grad():
                self.base.weight -= self.update
            self.update = None
