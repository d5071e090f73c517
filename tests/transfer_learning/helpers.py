"""What any right fine-tuning does: frozen things are watched for changes, whatever is called on the model."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dojo.testing import randint, randn

STAYS = "a frozen layer stays in eval mode whatever train() says: override train() on it, or put it back in a hook"


class Net(nn.Module):
    """Its head lies two levels deep, is not called `fc`, and is not the last thing that is defined."""

    def __init__(self, norm=None, bias=True):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 6), norm or nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
        self.top = nn.ModuleDict({"drop": nn.Identity(), "out": nn.Sequential(nn.ReLU(), nn.Linear(5, 3, bias=bias))})
        self.last = nn.Identity()

    def forward(self, x):
        return self.last(self.top["out"](self.top["drop"](self.features(x))))

    @property
    def head(self):
        return self.top["out"][1]


def state(module):
    return list(module.state_dict().values())


def same(found, wanted):
    """Equality of lists of parameters, as objects."""
    return [id(p) for p in found] == [id(p) for p in wanted]


def train(model, optimizer, rng, steps=3, classes=3):
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(randn(rng, 8, 4, dtype=torch.float32)), randint(rng, 0, classes, 8)).backward()
        optimizer.step()
