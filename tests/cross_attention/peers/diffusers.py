"""diffusers' Attention. Its to_out is a list of the layer and a dropout, and its masks are for the caller to prepare."""

import torch
from diffusers.models.attention_processor import Attention
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if heads < 1 or head_dim < 1:
            raise ValueError("heads and head_dim must be at least 1")
        layer = Attention(query_dim, cross_attention_dim=context_dim, heads=heads, dim_head=head_dim)
        self.layer = [layer]  # in a list, so that its parameters are registered once, and not under other names
        self.to_q, self.to_k, self.to_v, self.to_out = layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]

    def forward(self, x, context=None, mask=None):
        layer = self.layer[0].train(self.training)
        if context is None and self.to_q.in_features != self.to_k.in_features:
            raise ValueError("a context is needed")
        if mask is not None:
            keys = (x if context is None else context).shape[1]
            if mask.dtype != torch.bool or mask.shape not in ((len(x), keys), (*x.shape[:2], keys)):
                raise ValueError("mask: bool [batch, keys] or [batch, queries, keys]")
            mask = mask.reshape(len(x), -1, keys).expand(-1, x.shape[1], -1)
            mask = mask.repeat_interleave(layer.heads, dim=0)  # what the processor views as [batch, heads, ...]
        return layer(x, encoder_hidden_states=context, attention_mask=mask)
