"""What any right DDIM does. A step is given its noise, so it is exact; the sampler's noise has statistics."""

import torch

# Two steps with round numbers: sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
T, T_PREV = torch.tensor([0, 5, 3, 1, 4, 2]), torch.tensor([-1, 4, 0, -1, 1, 1])


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def at(*steps):
    return torch.tensor(steps)


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def abar_at(t, abar):
    return torch.cat([abar, abar.new_ones(1)])[t]  # the 1 is at -1


def no_noise(x, t):
    return torch.zeros_like(x)


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls
