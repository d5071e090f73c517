"""In the manner of the published code: a modulate function that unsqueezes, norms as modules without parameters, an init loop
over all linear layers before the modulation is zeroed, scaled_dot_product_attention."""

import torch
from torch import nn


def modulate(x, shift, scale):
    return x * (1 + scale[:, None, :]) + shift[:, None, :]


class DiTBlock(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        if any(size < 1 for size in (dim, heads, hidden)) or divmod(dim, heads)[1]:
            raise ValueError(f"bad sizes {dim}, {heads}, {hidden}")
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim, bias=True)
        self.proj = nn.Linear(dim, dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.apply(self.start)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    @staticmethod
    def start(module):
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.1)
            nn.init.normal_(module.bias, std=0.01)

    def forward(self, x, c):
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = torch.tensor_split(
            self.modulation(nn.functional.silu(c)), 6, dim=1
        )
        B, N, D = x.shape
        q, k, v = self.qkv(modulate(self.norm1(x), shift_msa, scale_msa)).split(D, dim=-1)
        q, k, v = (part.reshape(B, N, self.heads, D // self.heads).swapaxes(1, 2) for part in (q, k, v))
        out = nn.functional.scaled_dot_product_attention(q, k, v, scale=(D // self.heads) ** -0.5)
        x = x + gate_msa[:, None] * self.proj(out.swapaxes(1, 2).reshape(B, N, D))
        z = self.fc1(modulate(self.norm2(x), shift_mlp, scale_mlp))
        return x + gate_mlp[:, None] * self.fc2(nn.functional.gelu(z, approximate="tanh"))


class FinalLayer(nn.Module):
    def __init__(self, dim: int, patch_size: int, out_channels: int):
        super().__init__()
        if any(size < 1 for size in (dim, patch_size, out_channels)):
            raise ValueError(f"bad sizes {dim}, {patch_size}, {out_channels}")
        self.norm_final = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(dim, patch_size * patch_size * out_channels, bias=True)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.apply(self.start)

    @staticmethod
    def start(module):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, x, c):
        shift, scale = self.modulation(nn.functional.silu(c)).unflatten(-1, (2, -1)).unbind(-2)
        return self.linear(modulate(self.norm_final(x), shift, scale))
