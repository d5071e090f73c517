"""What the probes of several katas look at: refusals, what is finite, what is left of arguments, and the work and memory of NumPy code."""

import tracemalloc
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from dojo.testing.checks import Wrong
from dojo.testing.lines import expect_lines


def refused(call: Callable[[], object]) -> bool:
    """Whether `call` raises a ValueError. What it does instead depends on how it is written, so it is no evidence."""
    try:
        call()
    except NotImplementedError:  # of an unwritten stub
        raise
    except Exception as error:
        return isinstance(error, ValueError)
    return False


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that Python and NumPy hold at a time, beyond what they hold before, while `call` runs."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def traces(call: Callable[[], Iterable[object]], given: Iterable[object]) -> list[bool]:
    """Whether the arrays among what is `given` are changed by `call`, and whether one of its results shares memory with one."""
    arrays = [each for each in given if isinstance(each, np.ndarray)]
    before = [each.copy() for each in arrays]
    results = [each for each in call() if isinstance(each, np.ndarray)]
    changed = not all(map(np.array_equal, arrays, before))
    return [changed, any(np.shares_memory(a, b) for a in arrays for b in results)]


def finite(value: Any) -> Any:
    """The value, or a word if it has an infinity or a NaN: which of them, and where, depends on how it is written."""
    return value if not isinstance(value, Tensor) or value.isfinite().all() else "not finite"


def few_lines(call: Callable[[], object], kata: ModuleType, most: int) -> bool:
    """Whether `call` executes at most `most` lines of the kata's file."""
    try:
        expect_lines(call, kata, most, what="")
    except Wrong:
        return False
    return True
