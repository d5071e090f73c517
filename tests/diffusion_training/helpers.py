"""What any right training code does. Noise and t are drawn inside the loss, so models record what they are shown."""

import copy

import torch
from torch import nn

from dojo.testing import expect, randn

ABAR = torch.tensor([0.9, 0.64, 0.36, 0.1], dtype=torch.float64)


def data(rng, *shape, dtype=torch.float64):
    """Clean data. The global stream has the seed of `rng`: noise drawn there would equal the first draw from `rng`."""
    randn(rng, 7)
    return 3 * randn(rng, *shape, dtype=dtype)


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def no_noise(x, t):
    return torch.zeros_like(x)


def noise_in(x, t, x0):
    """The noise that made x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise."""
    a = ABAR[t].reshape(-1, *[1] * (x.dim() - 1))
    return (x - a.sqrt() * x0) / (1 - a).sqrt()


def expect_normal(draws, std, *, what, hint):
    """Mean 0 and the standard deviation, within 5.7 standard errors: a false alarm of 5e-8 at most for each."""
    draws, n = draws.double(), draws.numel()
    sentence = f"{what} should have mean 0, but have {draws.mean():.4f}"
    expect(abs(draws.mean()) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {draws.std():.4f}"
    expect(abs(draws.std() / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)


class Net(nn.Module):
    """A tied weight, BatchNorm's statistics, and a buffer that is not saved."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=dtype)
        self.norm = nn.BatchNorm1d(3, dtype=dtype)
        self.last = nn.Linear(3, 3, dtype=dtype)
        self.last.weight = self.first.weight
        self.register_buffer("table", torch.zeros(2, dtype=dtype), persistent=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def changed(net):
    """A copy in which every parameter and buffer is something else."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor += 3 if tensor.dtype == torch.int64 else torch.randn_like(tensor)
    return other


def values(net):
    return {name: tensor.detach().clone() for name, tensor in (*net.named_parameters(), *net.named_buffers())}
