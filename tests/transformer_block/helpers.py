"""Attention that tells what it was given, and modules whose weights are set by hand."""

import torch
from torch import nn

from dojo.testing import expect, expect_equal
from dojo.testing.modules import fill, fill_at_random
from katas.transformer_block import Block, SwiGLU

DIM, HIDDEN = 4, 6
NORM = "attention(norm1(x), **kwargs): norm(x) = x / sqrt(mean(x^2) + eps) * weight, along the last dimension"


class Spy(nn.Module):
    """Attention that answers with answer(x), zeros by default, and keeps what it is given, and a copy of that."""

    def __init__(self, answer=torch.zeros_like):
        super().__init__()
        self.answer, self.given, self.copies, self.kwargs = answer, [], [], []

    def forward(self, x, **kwargs):
        self.given.append(x)
        self.copies.append(x.detach().clone())
        self.kwargs.append(kwargs)
        return self.answer(x)


class Mixing(nn.Module):
    """Attention with a weight, in which token i sees those before it: a running sum of a linear layer's outputs."""

    def __init__(self, dim=DIM):
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        return self.linear(x).cumsum(-2)


def random_swiglu(rng, dim=DIM, hidden=HIDDEN, **weights):
    """SwiGLU in float64 with weights of size one, but for those that are given by name."""
    return with_weights(SwiGLU(dim, hidden).double(), rng, **weights)


def random_block(rng, attention=None, dim=DIM, hidden=HIDDEN, eps=1e-6, **weights):
    """A block in float64 with weights of size one, but for those that are given; its attention answers with zeros."""
    return with_weights(Block(dim, hidden, attention or Spy(), eps).double(), rng, **weights)


def with_weights(module, rng, **weights):
    fill_at_random(module.parameters(), rng)
    for name, values in weights.items():
        own = [parameter for each, parameter in module.named_parameters() if f".{each}".endswith(f".{name}.weight")]
        expect_equal(len(own), 1, what=f"the number of parameters called {name}.weight")
        fill(own[0], values, what=f"{name}.weight")
    return module


def given_to(attention, x):
    """What attention was given in its first call: a tensor of the shape and dtype of x."""
    expect(attention.given, "attention should be called, but was not", hint=NORM)
    given = attention.given[0]
    what, hint = "of what attention is given", "attention(norm1(x), **kwargs), in the shape and dtype of x"
    expect_equal(list(given.shape), list(x.shape), what=f"the shape {what}", hint=hint)
    expect_equal(given.dtype, x.dtype, what=f"the dtype {what}", hint=hint)
    return given
