"""transformers' GPT-2: its eager attention and its GPT2Attention, whose two projections are exchanged for linear layers.

Its masks are numbers for the caller to prepare, and a row without a key is the caller's business. It scales the product,
which overflows in float16; so the queries are scaled before."""

import torch
from torch import nn
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, eager_attention_forward


def visible_keys(mask, causal, shape, device):
    visible = torch.ones(shape, dtype=torch.bool, device=device)
    if causal:
        if shape[-2] > shape[-1]:
            raise ValueError("more queries than keys")
        visible = visible.tril(shape[-1] - shape[-2])
    if mask is None:
        return visible
    if mask.dtype != torch.bool:
        raise ValueError("the mask must be boolean")
    try:
        return visible & mask.expand(shape)
    except RuntimeError as error:
        raise ValueError("the mask does not broadcast") from error


def numbers(visible, dtype):
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def attention(q, k, v, mask=None, *, causal=False):
    visible = visible_keys(mask, causal, (*q.shape[:-1], k.shape[-2]), q.device)
    folded = (t.reshape(-1, 1, *t.shape[-2:]) for t in (q * q.shape[-1] ** -0.5, k, v, numbers(visible, q.dtype)))
    answers, _ = eager_attention_forward(nn.Identity(), *folded, scaling=1.0)
    return answers.reshape(*q.shape[:-1], -1) * visible.any(-1, keepdim=True)


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if heads < 1 or dim % heads or not 0 <= dropout < 1:
            raise ValueError(f"{heads} heads for {dim}, dropout {dropout}")
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        config = GPT2Config(n_embd=dim, n_head=heads, attn_pdrop=dropout, resid_pdrop=0.0, attn_implementation="eager")
        layer = GPT2Attention(config)
        layer.c_attn, layer.c_proj = self.qkv, self.out
        self.layer = [layer]  # in a list, so that its parameters are registered once, and not under other names

    def forward(self, x, padding=None):
        if padding is not None and (padding.dtype != torch.bool or padding.shape != x.shape[:2]):
            raise ValueError("padding: bool [batch, n]")
        mask = None if padding is None else padding[:, None, None]
        visible = visible_keys(mask, True, (len(x), 1, x.shape[1], x.shape[1]), x.device)
        return self.layer[0].train(self.training)(x, attention_mask=numbers(visible, x.dtype))[0]
