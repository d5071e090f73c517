"""What the probes of several katas look at: refusals, gradients, inputs afterwards, the work and memory of NumPy code."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dojo.testing.checks import Wrong
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Draws, Pairs

SIZES = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3]).double()
EDGES = torch.cat([-SIZES.flip(0), SIZES])  # between the parts of the line in which draws are counted


def refused(call: Callable[[], object]) -> bool:
    """Whether `call` raises a ValueError. What it does instead depends on how it is written, so it is no evidence."""
    try:
        call()
    except NotImplementedError:  # of an unwritten stub
        raise
    except Exception as error:
        return isinstance(error, ValueError)
    return False


def attempted(call: Callable[[], Any]) -> Any:
    """What `call` gives, or a word if it raises: which error it is, but for a ValueError, depends on how it is written."""
    try:
        return call()
    except NotImplementedError:  # of an unwritten stub
        raise
    except Exception as error:
        return "refused" if isinstance(error, ValueError) else "another error"


def sentence_of(call: Callable[[], Any]) -> str:
    """The sentence of the ValueError that `call` raises; empty if it raises none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def copied(given: Any) -> Any:
    """The arguments, in lists or not, with a copy of each tensor."""
    if isinstance(given, list):
        return [copied(each) for each in given]
    return given.clone() if isinstance(given, Tensor) else given


def unchanged(now: Any, before: Any) -> Any:
    """Whether the arguments of a call are what they were before it, in lists or not."""
    if isinstance(now, list) and len(now) == len(before):
        return [unchanged(*each) for each in zip(now, before, strict=True)]
    return Pairs(now, before) if isinstance(now, Tensor) else now


def gradients(got: Tensor, leaves: Sequence[Tensor]) -> list[Tensor] | str:
    """Those of a sum of the result, weighed by 1, 2, ..., for each of the leaves; or that it has no graph."""
    if not got.requires_grad:
        return "no graph"
    weights = torch.arange(1.0, 1.0 + got.numel()).reshape(got.shape).to(got)
    return list(torch.autograd.grad((weights * got).sum(), leaves, allow_unused=True, materialize_grads=True))


@contextmanager
def unfilled_is_nan() -> Iterator[None]:
    """Memory that torch.empty gives and nobody fills is NaN."""
    torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode("default")


def seeded(draw: Callable[..., Any], *given: Any) -> Any:
    """A draw whose noise is the same each time, whether it comes from the generator that it gets or from elsewhere."""
    torch.default_generator.manual_seed(7)
    np.random.seed(7)
    return draw(*given, generator=torch.Generator().manual_seed(7))


def normal_draws(got: Tensor) -> Draws | str:
    """In which part of the line each of the many numbers lies, finely near 0; or that many are equal."""
    many = len({*got.flatten().tolist()}) > 0.4 * got.numel()
    return Draws(torch.bucketize(got.nan_to_num(0), EDGES), len(EDGES) + 1) if many else "few"


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
