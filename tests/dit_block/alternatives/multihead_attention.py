"""torch's own multi-head attention with the weights of qkv and proj, and norms of nn.LayerNorm in a helper module."""

import torch
from torch import nn
from torch.nn import functional as F


class AdaptiveNorm(nn.Module):
    """layer_norm of all tokens, whose weight and bias the caller brings."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim, 1e-6, False)

    def forward(self, x, shift, scale):
        x = self.norm(x)
        return torch.addcmul(shift.unsqueeze(1) + x, x, scale.unsqueeze(1))


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        if not (dim >= 1 and heads >= 1 and hidden >= 1 and dim % heads == 0):
            raise ValueError(f"impossible sizes: {dim}, {heads}, {mlp_ratio}")
        self.heads = heads
        self.norm1, self.norm2 = AdaptiveNorm(dim), AdaptiveNorm(dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)

    def attention(self, x):
        x = x.transpose(0, 1)
        answer, _ = F.multi_head_attention_forward(
            x,
            x,
            x,
            x.shape[-1],
            self.heads,
            self.qkv.weight,
            self.qkv.bias,
            None,
            None,
            False,
            0.0,
            self.proj.weight,
            self.proj.bias,
            need_weights=False,
        )
        return answer.transpose(0, 1)

    def forward(self, x, c):
        parts = self.modulation(F.silu(c)).chunk(6, 1)
        x = torch.addcmul(x, parts[2].unsqueeze(1), self.attention(self.norm1(x, *parts[:2])))
        hidden = F.gelu(self.fc1(self.norm2(x, *parts[3:5])), approximate="tanh")
        return torch.addcmul(x, parts[5].unsqueeze(1), self.fc2(hidden))


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        for size in (dim, patch_size, out_channels):
            if size < 1:
                raise ValueError(f"{size} is below 1")
        self.norm = AdaptiveNorm(dim)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.linear = nn.Linear(dim, patch_size * out_channels * patch_size)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x, c):
        return self.linear(self.norm(x, *self.modulation(F.silu(c)).tensor_split(2, -1)))
