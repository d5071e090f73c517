"""Models to count, real ones among them, whose tensors and products torch counts."""

import math
import numbers
from dataclasses import astuple
from itertools import chain

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import Wrong, expect, measure
from dojo.testing.describe import describe
from katas.llm_arithmetic import Card, Decoder

LLAMA_2_7B = Decoder(32, 4096, 32, 32, 128, 11008, 32000, tied=False)
LLAMA_2_70B = Decoder(80, 8192, 64, 8, 128, 28672, 32000, tied=False)
LLAMA_3_8B = Decoder(32, 4096, 32, 8, 128, 14336, 128256, tied=False)
H100 = Card(989e12, 3.35e12, 80 * 10**9)
SMALL = Decoder(
    1, 4, 2, 2, 2, 6, 10, tied=False
)  # 64 parameters in attention, 72 in SwiGLU, 12 in norms, 40 + 40 outside
PLAIN = [Decoder(1, 12, 3, 3, 4, 20, 17, tied=False), Decoder(2, 10, 5, 5, 2, 7, 31, tied=False)]
GROUPED = {
    "grouped queries": Decoder(1, 12, 6, 2, 2, 20, 17, tied=False),
    "one key-value head": Decoder(2, 16, 4, 1, 4, 10, 17, tied=False),
    "tied": Decoder(1, 12, 3, 3, 4, 20, 17, tied=True),
    "heads wider than dim": Decoder(2, 10, 4, 2, 8, 20, 17, tied=False),
    "heads narrower than dim": Decoder(1, 30, 3, 1, 6, 11, 7, tied=True),
}


class Real:
    """A decoder with these sizes. Only shapes matter, so the weights have any values, and nothing is masked."""

    def __init__(self, m):
        self.m = m
        wide, narrow = m.heads * m.head_dim, m.kv_heads * m.head_dim
        shapes = [(m.dim,), (wide, m.dim), (narrow, m.dim), (narrow, m.dim), (m.dim, wide)]
        shapes += [(m.dim,), (m.hidden, m.dim), (m.hidden, m.dim), (m.dim, m.hidden)]
        self.layers = [[weight(*shape) for shape in shapes] for _ in range(m.layers)]
        self.embedding, self.norm = weight(m.vocab, m.dim), weight(m.dim)
        self.head = self.embedding if m.tied else weight(m.vocab, m.dim)

    def parameters(self):
        """The number of elements of all parameters; a shared one counts once."""
        every = {id(p): p for p in (self.embedding, self.norm, self.head, *chain.from_iterable(self.layers))}
        return sum(p.numel() for p in every.values())

    def __call__(self, new, context=0):
        """Logits of `new` tokens after `context` ones, whose keys and values may be any; and the new cache."""
        x, cache = F.embedding(torch.zeros(new, dtype=torch.int64), self.embedding), []
        for norm1, q, k, v, o, norm2, gate, up, down in self.layers:
            y = F.rms_norm(x, norm1.shape, norm1)
            queries, keys, values = (self.split(y @ w.T) for w in (q, k, v))
            past = torch.empty(2, self.m.kv_heads, context, self.m.head_dim)
            keys, values = torch.cat([past[0], keys], 1), torch.cat([past[1], values], 1)
            cache += [keys, values]
            keys, values = (part.repeat_interleave(self.m.heads // self.m.kv_heads, 0) for part in (keys, values))
            x = x + ((queries @ keys.mT).softmax(-1) @ values).transpose(0, 1).flatten(1) @ o.T
            y = F.rms_norm(x, norm2.shape, norm2)
            x = x + (F.silu(y @ gate.T) * (y @ up.T)) @ down.T
        return F.rms_norm(x, self.norm.shape, self.norm) @ self.head.T, cache

    def split(self, x):
        return x.unflatten(-1, (-1, self.m.head_dim)).transpose(0, 1)  # [new, heads head_dim] -> [heads, new, head_dim]


def weight(*shape):
    return nn.Parameter(torch.empty(*shape))


def counted(m, new, context=0, *, train=False):
    """FLOPs, as torch counts them, of a forward of a real model, and of its backward where it is to `train`."""
    model = Real(m)
    with measure() as spent:
        logits, _ = model(new, context)
        if train:
            logits.sum().backward()
    return spent.flops


def shown(m):
    """The model as one would write it."""
    return f"Decoder{astuple(m)}"


def expect_number(actual, expected, *, what, hint="", rtol=1e-9):
    """A number within a relative `rtol` of `expected`: any order of the factors is right."""
    if isinstance(actual, torch.Tensor) or not isinstance(actual, numbers.Real):
        raise Wrong(f"{what} should be the number {expected:.9g}, but is {describe(actual)}", hint=hint)
    close = math.isclose(actual, expected, rel_tol=rtol)
    expect(close, f"{what} should be {expected:.9g}, but is {float(actual):.9g}", hint=hint)


def expect_integers(results):
    """Each of `results`, by what it is, has the type int."""
    for what, result in results.items():
        sentence = f"{what} should be a Python int, but is {describe(result)} of type {type(result).__name__}"
        expect(type(result) is int, sentence, hint="a count: whole numbers throughout, no / and no float()")
