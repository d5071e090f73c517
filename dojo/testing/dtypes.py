"""Numbers in a dtype, the floating dtypes of tests' sweeps, and the tolerances that roundings in them need."""

import torch
from torch import Tensor

HALVES = [torch.float16, torch.bfloat16]
FLOATS = [*HALVES, torch.float32, torch.float64]


def numbers(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """A vector of these numbers."""
    return torch.tensor(values, dtype=dtype)


def roundings(count: float, dtype: torch.dtype, largest: Tensor | float = 1.0) -> dict[str, float]:
    """expect_close's tolerances for `count` roundings, in `dtype`, of numbers as large as the `largest` one.

    A rounding moves a number by half a unit in its last place, eps / 2 of its power of two, so by eps / 2 of itself at
    most. `count` is in whole units: it leaves a factor of two. Only the largest numbers on the way matter where terms
    are added, and so the tolerance is absolute.
    """
    size = largest.detach().abs().max().item() if isinstance(largest, Tensor) else largest
    return {"rtol": 0.0, "atol": count * torch.finfo(dtype).eps * size}
