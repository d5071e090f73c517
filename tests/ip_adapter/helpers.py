"""What any right IP-Adapter does. Weights are set by hand wherever numbers are compared; their start is free."""

import torch

from dojo.testing import expect, randn
from katas.ip_adapter import DecoupledCrossAttention

NEW = ["to_k_image.weight", "to_v_image.weight"]
FROM_TEXT, FROM_IMAGE = ("to_k", "to_v"), ("to_k_image", "to_v_image")


def fill(layer, **weights):
    """Sets weights by the submodule's name; `bias` is to_out's."""
    with torch.no_grad():
        for name, value in weights.items():
            target = layer.to_out.bias if name == "bias" else getattr(layer, name).weight
            target.copy_(torch.as_tensor(value))
    return layer


def attention(rng, query_dim=5, context_dim=7, heads=2, head_dim=3, scale=0.7):
    """A layer in float64 with weights of size one."""
    layer = DecoupledCrossAttention(query_dim, context_dim, heads, head_dim, scale).double()
    inner = heads * head_dim
    weights = {name: randn(rng, inner, context_dim) for name in FROM_TEXT + FROM_IMAGE}
    weights |= {"to_q": randn(rng, inner, query_dim), "to_out": randn(rng, query_dim, inner)}
    return fill(layer, **weights, bias=randn(rng, query_dim))


def inputs(rng, batch=2, queries=4, keys=6, tokens=3, query_dim=5, context_dim=7):
    sizes = (queries, query_dim), (keys, context_dim), (tokens, context_dim)
    return tuple(randn(rng, batch, *size) for size in sizes)


def change(layer, x, context, image_tokens):
    """What the image adds to the output."""
    scale = layer.scale
    with_image = layer(x, context, image_tokens)
    layer.scale = 0.0
    without = layer(x, context, image_tokens)
    layer.scale = scale
    return with_image - without


def backward(loss, hint="detach nothing, and no torch.no_grad()"):
    expect(loss.requires_grad, "the output should depend on something trainable, but has no gradient at all", hint=hint)
    loss.backward()
