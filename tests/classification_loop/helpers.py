"""What any right training loop does. Batches are uneven and their losses far apart, so that no average hides."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dojo.testing import expect_close, randint, randn
from katas.classification_loop import evaluate, fit, train_one_epoch

BOTH = pytest.mark.parametrize("which", ["train_one_epoch", "evaluate"])


class Echo(nn.Module):
    """Its inputs are its logits, times a weight of 1. It notes the mode of every forward pass."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=dtype))
        self.modes = []

    def forward(self, inputs):
        self.modes.append("train" if self.training else "eval")
        return inputs * self.weight


class Script(nn.Module):
    """Its weight counts the steps of SGD(lr=1). Inputs are tables: what the loss shall be after 0, 1, 2, ... steps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.register_buffer("statistic", torch.zeros((), dtype=torch.float64))  # as BatchNorm keeps some

    def forward(self, table):
        steps = self.weight.detach()
        if self.training:
            self.statistic += 1
        now = table[:, min(int(steps), table.shape[1] - 1)]
        first = now + steps - self.weight  # the table's number, with gradient -1
        return torch.stack([first, torch.zeros_like(first)], 1)


class OnHost(Tensor):
    """A tensor that nobody has moved yet: `.to(device)` gives a plain one, any other operation marks its result."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        moved = func is Tensor.to and any(isinstance(a, str | torch.device) for a in [*args, *(kwargs or {}).values()])
        return out.as_subclass(Tensor) if moved else out


class Stream(IterableDataset):
    """Rows without a known length, as from a socket."""

    def __init__(self, *columns):
        self.columns = columns

    def __iter__(self):
        return zip(*self.columns, strict=True)


class Passes(list):
    """A list of batches that counts how often it is iterated over."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


def first_logit(logits, targets):
    return logits[:, 0].mean()


def loader(inputs, targets, batch_size=4, **options):
    return DataLoader(TensorDataset(inputs, targets), batch_size, **options)


def one_pass(which, model, batches, loss_fn=cross_entropy):
    """Either function; training gets a learning rate of 0, so that both see the same model."""
    if which == "evaluate":
        return evaluate(model, batches, loss_fn, "cpu")
    return train_one_epoch(model, batches, loss_fn, SGD(model.parameters(), lr=0.0), "cpu")


def expect_number(actual, expected, what, hint):
    """Within 1e-5: a running sum in float32 is fine."""
    expect_close(torch.tensor(float(actual)), torch.tensor(float(expected)), what=what, hint=hint, rtol=1e-5, atol=1e-6)


def uneven(rng):
    """Batches of 4, 4 and 1; the last row is badly wrong, so that its loss is far from the others'."""
    logits, targets = randn(rng, 9, 3), randint(rng, 0, 3, 9)
    logits[8, targets[8]] -= 20
    return logits, targets


def fitted(val, train=None):
    """`fit` on Script, one training batch per epoch; row e of `val` holds the validation losses after epoch e + 1."""
    model, val = Script(), torch.tensor(val, dtype=torch.float64)
    epochs, rows = val.shape
    val = torch.cat([torch.full((rows, 1), 9.0), val.T], 1)
    train = torch.tensor([train or [float(epochs - e) for e in range(epochs)]], dtype=torch.float64)
    optimizer = SGD(model.parameters(), lr=1.0)
    batches = loader(train, torch.zeros(1).long()), loader(val, torch.zeros(rows).long())
    return model, optimizer, fit(model, *batches, first_logit, optimizer, epochs=epochs)
