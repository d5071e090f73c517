"""What any right checkpoint does. Crashes are made, not imagined: pickling that fails, renames that fail."""

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

RUNS = {
    "SGD with momentum": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: Adam(p, lr=0.02),
}


class Run:
    """A small training run, with dropout, BatchNorm, an optimizer and a scheduler."""

    def __init__(self, optimizer="SGD with momentum", dtype=torch.float64):
        layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)
        self.model = nn.Sequential(*layers).to(dtype)
        self.optimizer = RUNS[optimizer](self.model.parameters())
        self.scheduler = StepLR(self.optimizer, step_size=2, gamma=0.5)
        self.dtype = dtype

    @property
    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def train(self, steps):
        for _ in range(steps):
            x = torch.randn(8, 4, dtype=self.dtype)  # data from the global stream, as shuffling is
            self.optimizer.zero_grad()
            mse_loss(self.model(x), x[:, :2]).backward()
            self.optimizer.step()
            self.scheduler.step()
        return self


def names(folder):
    return sorted(p.name for p in folder.iterdir())
