"""What any right CLIP loss does. Most batches here are orthonormal: then the loss is known in closed form."""

import torch

from dojo.testing import randn


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def orthonormal(rng, batch, dim):
    """`batch` orthogonal directions of length 1, as rows [batch, dim]."""
    return torch.linalg.qr(randn(rng, dim, batch)).Q.T.contiguous()
