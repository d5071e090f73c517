"""What any right IP-Adapter does. Weights are set by hand wherever numbers are compared; their start is free."""

from dojo.testing import randn
from dojo.testing.modules import fill_at_random
from katas.ip_adapter import DecoupledCrossAttention

NEW = ["to_k_image.weight", "to_v_image.weight"]
FROM_TEXT, FROM_IMAGE = ("to_k", "to_v"), ("to_k_image", "to_v_image")


def attention(rng, query_dim=5, context_dim=7, heads=2, head_dim=3, scale=0.7):
    """A layer in float64 with weights of size one."""
    layer = DecoupledCrossAttention(query_dim, context_dim, heads, head_dim, scale).double()
    fill_at_random(layer.parameters(), rng)
    return layer


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
