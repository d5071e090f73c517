"""What any right cross-attention does. Weights are set by hand wherever numbers are compared; their start is free."""

import torch

from dojo.testing import randn
from dojo.testing.modules import fill_at_random, set_weights
from katas.cross_attention import CrossAttention


def attention(rng, query_dim=5, context_dim=7, heads=2, head_dim=3):
    """A layer in float64 with weights of size one."""
    layer = CrossAttention(query_dim, context_dim, heads, head_dim).double()
    fill_at_random(layer.parameters(), rng)
    return layer


def revealing(rng, content_dim=6, tokens=4):
    """A one-head layer that answers with its attention weights: token j carries, behind its content, a 1 at place j,
    and to_v reads only that. Also a function that turns contents [batch, tokens, content_dim] into such a context."""
    layer = CrossAttention(tokens, content_dim + tokens, 1, tokens).double()
    keys = torch.cat([randn(rng, tokens, content_dim), torch.zeros(tokens, tokens)], 1)
    values = torch.cat([torch.zeros(tokens, content_dim), torch.eye(tokens)], 1)
    set_weights(layer, to_q=randn(rng, tokens, tokens), to_k=keys, to_v=values, to_out=torch.eye(tokens), bias=0.0)
    return layer, lambda content: torch.cat([content, torch.eye(tokens).expand(len(content), -1, -1)], -1)
