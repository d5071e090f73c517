"""Weights whose gradients are set by hand, and steps of an optimizer over them."""

import copy
import io

import torch
from torch import Tensor, nn

from dojo.testing import expect, expect_close, numbers, randn
from dojo.testing.describe import describe
from katas.adamw import AdamW

TINY = 1e-100  # an eps that is as good as none
PLAIN = {"lr": 0.125, "eps": TINY, "weight_decay": 0.0}
BOTH = {"lr": 0.125, "betas": (0.75, 0.875), "eps": 0.25, "weight_decay": 0.5}  # everything is at work
DOUBLE = torch.float64


def weight(*values, dtype=DOUBLE):
    return nn.Parameter(numbers(*values, dtype=dtype))


def random_weight(rng, *shape, dtype=DOUBLE):
    return nn.Parameter(randn(rng, *shape).to(dtype))


def advance(optimizer, *pairs):
    """One step, after every weight was given its gradient, which may be None."""
    for param, grad in pairs:
        param.grad = None if grad is None else grad.to(param.dtype).expand(param.shape).clone()
    return optimizer.step()


def walk(param, grads, optimizer=None, **options):
    """The values of a weight before the first step and after each."""
    optimizer = optimizer or AdamW([param], **options)
    values = [param.detach().clone()]
    for grad in grads:
        advance(optimizer, (param, grad))
        values.append(param.detach().clone())
    return torch.stack(values)


def moves(param, grads, **options):
    """What each step adds to a weight."""
    return walk(param, grads, **options).diff(dim=0)


def expect_walk(param, grads, want, *, what, hint, **options):
    """After each of the steps, the weight is what `want` says: a list of rows."""
    got = walk(param, grads, **options)[1:]
    for number, row in enumerate(want):
        step = f"{what} after step {number + 1}" if len(want) > 1 else what
        expect_close(got[number], numbers(*row), what=step, hint=hint)


def saved(optimizer, device=None):
    """The state_dict as it comes back from a file, its tensors on another device if one is given."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True, map_location=device)


def copied(optimizer):
    """The state_dict with tensors of its own."""
    return copy.deepcopy(optimizer.state_dict())


def moments(optimizer, param):
    """The tensors in the state of a weight that have its size; two of them, or it fails with a sentence."""
    state = optimizer.state.get(param, {})
    sentence = f"state[param] should be a dict with the two moments after a step, but is {describe(state)}"
    expect(isinstance(state, dict) and state, sentence, hint="self.state[param] is a dict that begins empty: fill it")
    held = [each for each in state.values() if isinstance(each, Tensor) and each.shape == param.shape]
    sentence = f"state[param] should hold two tensors of the weight's shape, but holds {len(held)}: {sorted(state)}"
    expect(len(held) >= 2, sentence, hint="m and v, in self.state[param]")
    return held
