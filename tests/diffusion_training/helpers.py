"""What any right training code does. Noise and t are drawn inside the loss, so models record what they are shown."""

import copy

import torch
from torch import nn

from dojo.testing import randn
from dojo.testing.diffusion import column

ABAR = torch.tensor([0.9, 0.64, 0.36, 0.1], dtype=torch.float64)


def data(rng, *shape, dtype=torch.float64):
    """Clean data. The global stream has the seed of `rng`: noise drawn there would equal the first draw from `rng`."""
    randn(rng, 7)
    return 3 * randn(rng, *shape, dtype=dtype)


def noise_in(x, t, x0):
    """The noise that made x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise."""
    a = column(ABAR[t], x)
    return (x - a.sqrt() * x0) / (1 - a).sqrt()


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
