"""Schedules with round roots, the forward process, and what the tests call for each kind of prediction."""

import torch

from dojo.testing.diffusion import column
from katas.v_prediction import to_eps, to_x0

KINDS = ["eps", "x0", "v"]
INF = float("inf")

# Two steps: sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)
# With x0 = 3 and noise = 2 they show x_t = [3.6, 3.4] and have v = [-0.2, -1.2].
X_T = [3.6, 3.4]
ANSWERS = {"eps": [2.0, 2.0], "x0": [3.0, 3.0], "v": [-0.2, -1.2]}

VIDEO = (6, 2, 1, 3, 2)
T = torch.tensor([0, 5, 3, 1, 4, 3])  # not sorted, and one step comes twice
CONVERSIONS = {"to_x0": to_x0, "to_eps": to_eps}
WAYS_BACK = {
    ("to_x0", "eps"): "solve x_t = sqrt(abar) x0 + sqrt(1 - abar) noise for x0",
    ("to_x0", "x0"): "the prediction is x0 already",
    ("to_x0", "v"): "x_t and v are two equations for x0 and noise: eliminate the noise; abar + (1 - abar) = 1",
    ("to_eps", "eps"): "the prediction is the noise already",
    ("to_eps", "x0"): "solve x_t = sqrt(abar) x0 + sqrt(1 - abar) noise for the noise",
    ("to_eps", "v"): "x_t and v are two equations for x0 and noise: eliminate x0; abar + (1 - abar) = 1",
}


def at(*steps):
    return torch.tensor(steps)


def diffused(x0, noise, t, abar):
    """x_t as the forward process makes it."""
    a = column(abar[t], x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise
