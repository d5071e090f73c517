"""The whole layer as one autograd function: it saves x and rank numbers a row, and adds into the base's output."""

import torch
from torch import nn


class Update(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, x, A, B, scale):
        rows = x.reshape(-1, x.shape[-1])
        hidden = rows @ A.t()
        ctx.save_for_backward(rows, hidden, A, B)
        ctx.scale, ctx.shape = scale, x.shape
        return torch.addmm(y.reshape(-1, B.shape[0]), hidden, B.t(), alpha=scale).view_as(y)

    @staticmethod
    def backward(ctx, dy):
        rows, hidden, A, B = ctx.saved_tensors
        flat = dy.reshape(-1, B.shape[0])
        dhidden = flat @ B * ctx.scale
        return dy, (dhidden @ A).reshape(ctx.shape), dhidden.t() @ rows, flat.t() @ hidden * ctx.scale, None


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank={rank}")
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Parameter(nn.init.xavier_normal_(base.weight.new_empty((rank, base.in_features))))
        self.lora_B = nn.Parameter(base.weight.new_full((base.out_features, rank), 0.0))
        if dropout == 1 or dropout != dropout:
            raise ValueError("dropout is 1 or NaN")
        self.dropout = nn.Dropout(dropout)  # refuses everything else outside [0, 1]
        self.scale = alpha / rank
        self.register_buffer("is_merged", torch.tensor(False), persistent=False)

    @property
    def merged(self):
        return self.is_merged.item()

    def forward(self, x):
        y = nn.functional.linear(x, self.base.weight, self.base.bias)
        return y if self.merged else Update.apply(y, self.dropout(x), self.lora_A, self.lora_B, self.scale)

    def _shift(self, sign):
        self.base.weight.detach().addmm_(self.lora_B.detach(), self.lora_A.detach(), alpha=sign * self.scale)
        self.is_merged.logical_not_()

    def merge(self):
        if not self.merged:
            self._shift(+1)

    def unmerge(self):
        if self.merged:
            self._shift(-1)
