"""Inputs of flash attention, its results checked for their form, and attention by its definition to compare with."""

import torch
from torch import Tensor

from dojo.testing import Wrong, expect, randn
from dojo.testing.describe import describe
from katas.flash_attention import flash_attention, flash_backward, merge

# Of 7 queries and 10 keys: short last blocks, single keys, a block that is longer than everything.
BLOCKS = [(2, 3), (7, 1), (3, 64)]


def qkv(rng, queries=7, keys=10, *, batch=(2,), dim=4, value_dim=3, dtype=torch.float64):
    """q, k and v."""
    return [randn(rng, *batch, *s, dtype=dtype) for s in ((queries, dim), (keys, dim), (keys, value_dim))]


def checked(result, like, what):
    """The results of a function, after their number, shapes and dtypes: `like` has (shape, dtype) by name."""
    names = ", ".join(like)
    several = isinstance(result, tuple | list) and len(result) == len(like)
    if not several:  # describing a result takes as long as computing it
        raise Wrong(f"{what} should return ({names}), but returned {describe(result)}")
    for part, (name, (shape, dtype)) in zip(result, like.items(), strict=True):
        if not isinstance(part, Tensor):
            raise Wrong(f"{name} of {what} should be a tensor, but is {describe(part)}")
        sentence = f"{name} of {what} should have shape {[*shape]}, but has {[*part.shape]}"
        expect(part.shape == torch.Size(shape), sentence, hint=f"return ({names}), in this order")
        hint = "compute in float32 at least; lse stays in it, all else goes back to the inputs' dtype"
        expect(part.dtype == dtype, f"{name} of {what} should have dtype {dtype}, but has {part.dtype}", hint=hint)
    return result


def attend(q, k, v, *, what="flash_attention", **options):
    """out and lse of your flash_attention."""
    wide = torch.promote_types(q.dtype, torch.float32)
    like = {"out": ((*q.shape[:-1], v.shape[-1]), q.dtype), "lse": (q.shape[:-1], wide)}
    return checked(flash_attention(q, k, v, **options), like, what)


def merged(outs, lses, *, what="merge"):
    """out and lse of your merge."""
    like = {"out": (outs[0].shape, outs[0].dtype), "lse": (lses[0].shape, lses[0].dtype)}
    return checked(merge(outs, lses), like, what)


def gradients(grad, q, k, v, out, lse, *, what="flash_backward", **options):
    """dq, dk and dv of your flash_backward."""
    like = {f"d{name}": (t.shape, t.dtype) for name, t in zip("qkv", (q, k, v), strict=True)}
    return checked(flash_backward(grad, q, k, v, out, lse, **options), like, what)


def hidden_keys(queries, keys, causal):
    """True where a query does not see a key."""
    hidden = torch.ones(queries, keys, dtype=torch.bool)
    return hidden.triu(keys - queries + 1) if causal else ~hidden


def by_definition(q, k, v, *, causal=False, scale=None):
    """out and lse from all scores at once."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    hidden = hidden_keys(q.shape[-2], k.shape[-2], causal)
    nothing = hidden.all(-1, keepdim=True)
    scores = q @ k.mT * scale
    weights = scores.masked_fill(hidden & ~nothing, -torch.inf).softmax(-1).masked_fill(nothing, 0.0)
    return weights @ v, scores.masked_fill(hidden, -torch.inf).logsumexp(-1)


def slopes(grad, q, k, v, **options):
    """The gradients that autograd finds for attention by its definition."""
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    return torch.autograd.grad(by_definition(*leaves, **options)[0], leaves, grad)


def tiles_seen(queries, keys, block_q, block_k):
    """How many tiles causal queries see anything of, and how many scores they see."""
    seen = ~hidden_keys(queries, keys, True)
    tiles = (
        seen.unflatten(0, (-1, block_q)).unflatten(2, (-1, block_k)).any(1).any(-1)
    )  # [rows of tiles, tiles in each]
    return int(tiles.sum()), int(seen.sum())
