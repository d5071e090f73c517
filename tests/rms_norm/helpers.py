"""Inputs of the norms, and the calls that raise ValueError."""

import torch

from dojo.testing import randn
from katas.rms_norm import layer_norm, rms_norm

EPS = 0.3


def ones(dim, dtype=torch.float64):
    return torch.ones(dim, dtype=dtype)


def eighths(rng, *shape):
    """Multiples of 1/8 up to 4: exact in every dtype. No row is constant."""
    x = (8 * randn(rng, *shape)).round().clamp(-32, 32) / 8
    x[..., 0], x[..., 1] = 1.5, -1.0
    return x


def plain_layer_norm(x, eps):
    """layer_norm with a weight of 1 and a bias of 0."""
    return layer_norm(x, ones(x.shape[-1], x.dtype), 0 * ones(x.shape[-1], x.dtype), eps)


def plain_rms_norm(x, eps):
    """rms_norm with a weight of 1."""
    return rms_norm(x, ones(x.shape[-1], x.dtype), eps)


def wrong_calls(function, *inputs, vectors=1):
    """(words, arguments) of calls of `function` with rows of 3 numbers that raise ValueError: `vectors` are the weight
    and, for layer_norm, the bias, behind the inputs."""
    good = [torch.ones(3)] * vectors
    for eps in (-1e-6, float("nan")):
        yield f"{function.__name__} with eps={eps}", (*inputs, *good, eps)
    for place, name in enumerate(("weight", "bias")[:vectors]):
        for size in ((2,), (1,), (4, 3), ()):
            wrong = [*good[:place], torch.ones(size), *good[place + 1 :]]
            yield f"{function.__name__} with a {name} of shape {list(size)} for rows of 3", (*inputs, *wrong, 1e-6)
