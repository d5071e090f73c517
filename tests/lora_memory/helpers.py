"""The bytes of real layers, counted, against the formulas."""

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import linear

from dojo.testing import expect_equal, randn

FIELDS = ("weights", "gradients", "optimizer", "activations")
HINTS = {
    "weights": "every parameter is in memory: W, and with LoRA A and B as well",
    "gradients": "one number for each trainable parameter; a frozen W has none",
    "optimizer": "optimizer_states numbers for each trainable parameter, of dtype_bytes each; a frozen W has none",
    "activations": "x is kept for dL/dW or dL/dA, and x A^T for dL/dB; no output is",
}


def expect_budget(budget, expected, what):
    for field, want in zip(FIELDS, expected, strict=True):
        expect_equal(getattr(budget, field), want, what=f"the {field} of {what}", hint=HINTS[field])


def nbytes(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def measured(x, forward, frozen, trainable, make_optimizer):
    """What a training step really holds: (weights, gradients, optimizer, activations), in bytes."""
    known = {p.data_ptr() for p in (*frozen, *trainable)}
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in known:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward(x)
    activations = nbytes(kept.values())
    y.sum().backward()
    optimizer = make_optimizer(trainable)
    optimizer.step()
    states = [s for state in optimizer.state.values() for s in state.values() if torch.is_tensor(s) and s.dim()]
    grads = [p.grad for p in (*frozen, *trainable) if p.grad is not None]
    return nbytes([*frozen, *trainable]), nbytes(grads), nbytes(states), activations


def measured_full(rng, inside, outside, batch, dtype, make_optimizer):
    w = nn.Parameter(randn(rng, outside, inside, dtype=dtype))
    x = randn(rng, batch, inside, dtype=dtype).requires_grad_()
    return measured(x, lambda x: linear(x, w), [], [w], make_optimizer)


def measured_lora(rng, inside, outside, batch, rank, dtype, make_optimizer):
    w = nn.Parameter(randn(rng, outside, inside, dtype=dtype), requires_grad=False)
    a, b = nn.Parameter(randn(rng, rank, inside, dtype=dtype)), nn.Parameter(randn(rng, outside, rank, dtype=dtype))
    x = randn(rng, batch, inside, dtype=dtype).requires_grad_()
    return measured(x, lambda x: linear(x, w) + linear(linear(x, a), b) * 0.5, [w], [a, b], make_optimizer)
