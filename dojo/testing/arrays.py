"""NumPy arrays, as what is given to a kata and as evidence of a probe."""

from typing import Any

import numpy as np
import torch

from dojo.testing.sampling import randn


def normal(rng: torch.Generator, *shape: int, spread: float = 1.0) -> np.ndarray:
    """Normal numbers around 0, in float64."""
    return (randn(rng, *shape) * spread).numpy()


def column(*values: float) -> np.ndarray:
    """Points on a line, as [n, 1]."""
    return np.array(values, dtype=np.float64)[:, None]


def as_tensors(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a case can hold them: each array as a tensor."""
    return {name: _tensor(value) if isinstance(value, np.ndarray) else value for name, value in given.items()}


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A copy, with ordinary strides: from_numpy gives an array without elements strides of 0."""
    return torch.from_numpy(array.copy()).clone(memory_format=torch.contiguous_format)


def as_arrays(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a case holds, with each tensor as an array of its own."""
    return {name: value.numpy().copy() if isinstance(value, torch.Tensor) else value for name, value in given.items()}


def plain(value: Any) -> torch.Tensor | float:
    """An array as a tensor of float64; any other number as a float."""
    return torch.from_numpy(np.array(value, np.float64)) if isinstance(value, np.ndarray) else float(value)


def kind(value: Any) -> str:
    """The dtype and shape of an array; of anything else whether it is a float."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else str(isinstance(value, float))


def shared(results: dict[str, Any], given: dict[str, Any]) -> list[bool]:
    """For each array of the arguments whether one of the results shares its memory."""
    arrays = [value for value in results.values() if isinstance(value, np.ndarray)]
    return [any(np.shares_memory(a, b) for b in arrays) for a in given.values() if isinstance(a, np.ndarray)]
