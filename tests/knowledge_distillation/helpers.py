"""Inputs, and the words that several files use."""

import torch

from dojo.testing import randn

INF, NAN = float("inf"), float("nan")
SOFTEN = "both logits divided by T, log_softmax of both, sum of p (log p - log q), and T squared in front"
WIDEN = "convert both logits to float32 at least (the wider of the two dtypes) before the division, and stay there"
SELECT = "take the positions that count, logits[mask], before anything is computed"


def logs(*rows, scale=1.0, dtype=torch.float64):
    """Logits whose softmax at the temperature `scale` has these odds; odds of 0 exclude the class."""
    return (scale * torch.tensor(rows, dtype=torch.float64).log()).to(dtype)


def scalar(value, dtype=torch.float64):
    """The number as a tensor of shape []."""
    return torch.tensor(float(value), dtype=dtype)


def both(rng, *shape, scale=2.0, dtype=torch.float64):
    """Logits of a student and of a teacher."""
    return [scale * randn(rng, *shape, dtype=dtype) for _ in range(2)]


def wide(*dtypes):
    """The dtype of a loss of logits in these dtypes."""
    result = torch.float32
    for dtype in dtypes:
        result = torch.promote_types(result, dtype)
    return result
