"""Inputs, autograd of torch's own functions to compare with, and the calls with a look at what comes back."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dojo.testing import expect, randn
from katas.attention_backward import attention_backward, attention_forward, matmul_backward

NAMES = ("grad_q", "grad_k", "grad_v")


def qkv(rng, *batch, queries=4, keys=5, dim=3, value_dim=2):
    """Queries, keys and values in float64."""
    return [randn(rng, *batch, *shape) for shape in ((queries, dim), (keys, dim), (keys, value_dim))]


def by_autograd(function, inputs, grad):
    """The result of `function`, one of torch's own, and its gradients with respect to `inputs`, in float64."""
    leaves = [x.detach().double().requires_grad_() for x in inputs]
    result = function(*leaves)
    return result.detach(), torch.autograd.grad(result, leaves, grad.double())


def torch_attention(q, k, v, mask=None, grad=None):
    """torch's attention, and its gradients; each query must see a key."""
    mask = None if mask is None else mask.expand(*q.shape[:-1], k.shape[-2])
    grad = torch.ones(*q.shape[:-1], v.shape[-1]) if grad is None else grad
    return by_autograd(lambda *leaves: F.scaled_dot_product_attention(*leaves, mask), (q, k, v), grad)


def parts(result, names, what):
    """`result` as a list of its parts, after a look at how many there are and that those with a name are tensors."""
    wanted = f"{what} should return ({', '.join(names)})"
    kind = f"{len(result)} results" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
    expect(isinstance(result, tuple | list) and len(result) == len(names), f"{wanted}, but gave {kind}")
    for name, part in zip(names, result, strict=True):
        sentence = f"{name} of {what} should be a tensor, but is a {type(part).__name__}"
        expect(name == "saved" or isinstance(part, Tensor), sentence)
    return list(result)


def shaped(result, inputs, names, what, hint="in index notation: which index is missing from the result?"):
    """The gradients `result`, after a look at their shapes: those of the inputs."""
    result = parts(result, names, what)
    for name, part, x in zip(names, result, inputs, strict=True):
        sentence = f"{name} of {what} should have its input's shape {list(x.shape)}, but has {list(part.shape)}"
        expect(part.shape == x.shape, sentence, hint=hint)
    return result


def product_gradients(grad, a, b):
    """grad_a and grad_b of matmul_backward, in the right shapes."""
    what = f"matmul_backward for a {list(a.shape)} and b {list(b.shape)}"
    hint = "which index is missing from the result? A broadcast one is summed: an added one goes, one of size 1 stays"
    return shaped(matmul_backward(grad, a, b), (a, b), ("grad_a", "grad_b"), what, hint)


def forward(q, k, v, mask=None):
    """out, in the right shape, and saved of attention_forward."""
    out, saved = parts(attention_forward(q, k, v, mask), ("out", "saved"), "attention_forward")
    want = [*q.shape[:-1], v.shape[-1]]
    sentence = f"out of attention_forward should have shape {want}, but has {list(out.shape)}"
    expect(list(out.shape) == want, sentence, hint="a weighted mean of the values for each query")
    return out, saved


def gradients(grad, q, k, v, mask=None):
    """The three gradients of attention, by both functions, by their names."""
    _, saved = forward(q, k, v, mask)
    got = shaped(attention_backward(grad, saved), (q, k, v), NAMES, "attention_backward")
    return dict(zip(NAMES, got, strict=True))


def wrong_products():
    """(words, arguments) of calls of matmul_backward that raise ValueError."""
    for grad, a, b in (
        ((2,), (2, 3), (3,)),
        ((4,), (3,), (3, 4)),
        ((), (3,), (3,)),
        ((2, 4), (2, 3), (5, 4)),
        ((2, 4), (2, 1), (3, 4)),
        ((2, 5), (2, 3), (3, 4)),
        ((4, 2), (2, 3), (3, 4)),
        ((1, 4), (2, 3), (3, 4)),
        ((1, 2, 4), (2, 3), (3, 4)),
        ((2, 4), (6, 2, 3), (3, 4)),
        ((6, 2, 4), (6, 2, 3), (5, 3, 4)),
        ((1, 2, 4), (1, 2, 3), (5, 3, 4)),
    ):
        yield f"grad {[*grad]}, a {[*a]}, b {[*b]}", [torch.ones(shape) for shape in (grad, a, b)]


def wrong_attention():
    """(words, arguments) of calls of attention_forward that raise ValueError: q is [2, 4, 3], of 5 keys."""
    q = (2, 4, 3)
    for k, v in (((2, 5, 4), (2, 5, 2)), ((2, 5, 3), (2, 6, 2)), ((3, 5, 3), (3, 5, 2)), ((2, 5, 3), (3, 5, 2))):
        yield f"q {[*q]}, k {[*k]}, v {[*v]}", [torch.ones(shape) for shape in (q, k, v)]
    fits = [torch.ones(shape) for shape in (q, (2, 5, 3), (2, 5, 2))]
    yield "a mask of numbers", [*fits, torch.ones(4, 5)]
    yield "a mask of integers", [*fits, torch.ones(4, 5, dtype=torch.int64)]
    for shape in ((5, 4), (3, 4, 5), (2, 2, 4, 5), (4,)):
        yield f"q {[*q]}, 5 keys and a mask {[*shape]}", [*fits, torch.ones(shape, dtype=torch.bool)]
