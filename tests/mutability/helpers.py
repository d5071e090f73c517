"""What any right answer shows. Nothing is compared with `is`: sharing is seen by changing one side and looking at the
other."""

import torch
from torch import nn
from torch.optim import SGD


def network(dtype=torch.float64):
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(dtype)


def train(model, x, steps=3):
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
