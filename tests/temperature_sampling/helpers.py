"""What any right temperature sampler does. Tokens are never compared under a fixed seed: only supports and distributions."""

import torch

N = 4000


def doubles(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)
