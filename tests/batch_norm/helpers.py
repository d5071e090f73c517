"""Layers with given numbers, their buffers, the gradients by their names, and the calls that raise ValueError."""

import torch

from dojo.testing import expect, expect_equal, randn
from dojo.testing.modules import fill
from katas.batch_norm import BatchNorm, batch_norm_backward

EPS = 0.3
NAMES = ("grad_x", "grad_weight", "grad_bias")
BUFFERS = ("running_mean", "running_var")


def layer_of(features, eps=EPS, momentum=0.1, *, dtype=torch.float64, **values):
    """A layer in training mode; `values` overwrite its parameters and buffers by their names."""
    layer = BatchNorm(features, eps, momentum).to(dtype)
    for name, value in values.items():
        fill(getattr(layer, name), value, what=name)
    return layer


def random_layer(rng, features, eps=EPS, momentum=0.1, **options):
    """A layer in the middle of its training: all of its numbers are multiples of 1/8, and no variance is small."""
    mean, weight, bias = (eighths(rng, features) for _ in range(3))
    var = 0.5 + eighths(rng, features).abs()
    values = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    return layer_of(features, eps, momentum, **values, **options)


def eighths(rng, *shape):
    """Multiples of 1/8 up to 4: exact in every dtype. No channel is constant."""
    x = (8 * randn(rng, *shape)).round().clamp(-32, 32) / 8
    x[0], x[-1] = 1.5, -1.0
    return x


def column(*values):
    """A batch of one channel."""
    return torch.tensor(values).double()[:, None]


def buffers(layer):
    """Copies of the running mean and the running variance."""
    return [getattr(layer, name).detach().clone() for name in BUFFERS]


def shown(x):
    return f"x of shape {list(x.shape)}"


def gradients(grad, x, weight, *eps):
    """The gradients by their names, after a look at how many there are and at their shapes."""
    got = batch_norm_backward(grad, x, weight, *eps)
    kind = f"{len(got)} results" if isinstance(got, tuple) else f"a {type(got).__name__}"
    hint = "return grad_x, grad_weight, grad_bias"
    sentence = f"batch_norm_backward should return 3 tensors, but gave {kind}"
    expect(isinstance(got, tuple) and len(got) == 3, sentence, hint=hint)
    for name, result, like in zip(NAMES, got, (x, weight, weight), strict=True):
        shape = list(getattr(result, "shape", ["none: it is no tensor"]))
        expect_equal(shape, list(like.shape), what=f"the shape of {name} for {shown(x)}", hint=hint)
    return dict(zip(NAMES, got, strict=True))
