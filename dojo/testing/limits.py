"""Checks of what dojo.testing.cost counts. Each has a lower bound, because work outside torch is not counted."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from dojo.testing.checks import expect
from dojo.testing.cost import Cost, measure

MOST_COMMON = 5  # operators that are named where too many bytes are moved


def expect_traffic(
    spent: Cost, tensor: Tensor, most: float, *, what: str, of: str, hint: str = "", least: float = 1.0
) -> None:
    """The block moved `least` to `most` times the bytes of `tensor`, which `of` names."""
    ratio = spent.bytes / tensor.nbytes
    sentence = f"torch operators should do the work of {what}, but they moved only {ratio:.2f}x the bytes of {of}"
    expect(ratio >= least, sentence, hint="numpy and Python loops are not counted: compute with torch")
    common = ", ".join(f"{name}: {count}" for name, count in spent.calls.most_common(MOST_COMMON))
    sentence = f"{what} should move at most {most:g}x the bytes of {of}, but moved {ratio:.0f}x ({common})"
    expect(ratio <= most, sentence, hint=hint)


def expect_flat_operators(
    function: Callable[..., Any],
    inputs: Callable[[Any], Iterable[Any]],
    sizes: Iterable[Any],
    *,
    what: str,
    hint: str,
    slack: float = 0,
    outside_torch: bool = False,
) -> None:
    """`function(*inputs(size))` takes as many operators at each size as at the first one, or at most `slack` more.

    At the first size some operators must run, and at each size they must move the bytes of the inputs at least: a loop
    outside torch is not counted. Where an answer may compute with something else, say so by `outside_torch`.
    """
    few = None
    for size in sizes:
        given = tuple(inputs(size))
        with measure() as spent:
            function(*given)
        if few is None:
            few, first = spent.operators, size
        read = sum(each.nbytes for each in given if isinstance(each, Tensor))
        sentence = (
            f"torch operators should do the work of {what}, but moved {spent.bytes} bytes of {read} at size {size}"
        )
        expect(outside_torch or spent.operators and spent.bytes >= read, sentence)
        sentence = f"{what} should take about as many operators at size {size} as at size {first} ({few})"
        expect(spent.operators <= few + slack, f"{sentence}, but took {spent.operators}", hint=hint)
