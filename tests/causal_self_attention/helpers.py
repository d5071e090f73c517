"""Inputs of attention, and layers whose weights are set by hand; how they start is free."""

import torch

from dojo.testing import randn
from dojo.testing.modules import fill, fill_at_random
from katas.causal_self_attention import CausalSelfAttention


def qkv(rng, *batch, queries=4, keys=5, dim=3, value_dim=2):
    """Queries, keys and values in float64."""
    return (randn(rng, *batch, *shape) for shape in ((queries, dim), (keys, dim), (keys, value_dim)))


def random_layer(rng, dim=6, heads=2, dropout=0.0):
    """A layer in float64 with weights of size one, in evaluation."""
    layer = CausalSelfAttention(dim, heads, dropout).double().eval()
    fill_at_random(layer.parameters(), rng)
    return layer


def revealing_layer(rng, n=3, dropout=0.0):
    """A layer of two heads, and its input [1, n, 4 n]: token i answers with its weights, those of each head twice.

    Token j is a 1 at place j, and so is its value, in both halves of either head. Queries and keys are random.
    """
    layer = CausalSelfAttention(4 * n, 2, dropout).double()
    weight = torch.cat([randn(rng, 8 * n, 4 * n), torch.eye(n, 4 * n).repeat(4, 1)])
    fill(layer.qkv.weight, weight, what="qkv.weight")
    fill(layer.out.weight, torch.eye(4 * n), what="out.weight")
    fill(layer.qkv.bias, 0.0)
    fill(layer.out.bias, 0.0)
    return layer, torch.eye(n, 4 * n).double()[None]
