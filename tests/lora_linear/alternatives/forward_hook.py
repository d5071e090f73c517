"""The branch is a forward hook on the base, and merging takes the hook off: the layer's own forward is one call."""

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if rank < 1:
            raise ValueError("rank < 1")
        if not 0 <= dropout < 1:
            raise ValueError("dropout outside [0, 1)")
        self.base = base.requires_grad_(False)
        self.register_parameter("lora_A", nn.Parameter(torch.empty_like(base.weight[:1]).repeat(rank, 1)))
        self.register_parameter("lora_B", nn.Parameter(torch.empty_like(base.weight[:, :1]).repeat(1, rank)))
        with torch.no_grad():
            self.lora_A.uniform_(-0.1, 0.1)
            self.lora_B.fill_(0)
        self.drop = nn.Dropout(dropout)
        self.scaling = alpha / rank
        self.hook = base.register_forward_hook(self.add_branch)

    def add_branch(self, base, arguments, y):
        (x,) = arguments
        return y + self.drop(x).matmul(self.lora_A.mT).matmul(self.lora_B.mT).mul(self.scaling)

    @property
    def merged(self):
        return self.hook is None

    def forward(self, x):
        return self.base(x)

    def merge(self):
        if self.hook is not None:
            self.base.weight.data.add_(self.lora_B.detach() @ self.lora_A.detach(), alpha=self.scaling)
            self.hook.remove()
            self.hook = None

    def unmerge(self):
        if self.hook is None:
            self.base.weight.data.sub_(self.lora_B.detach() @ self.lora_A.detach(), alpha=self.scaling)
            self.hook = self.base.register_forward_hook(self.add_branch)
