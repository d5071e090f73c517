"""Checks of what dojo.testing.cost counts. Each has a lower bound, because work outside torch is not counted."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from dojo.testing.checks import expect
from dojo.testing.cost import Cost, measure

COUNTED = "compute with torch: numpy and Python loops are not counted"


def expect_traffic(
    spent: Cost, tensor: Tensor, most: float, *, what: str, of: str, hint: str = "", outside_torch: bool = False
) -> None:
    """The block moved 1 to `most` times the bytes of `tensor`, which `of` names.

    Where an answer may compute with something else than torch, say so by `outside_torch`: then 0 to `most` times.
    """
    ratio = spent.bytes / tensor.nbytes
    sentence = f"torch operators should do the work of {what}, but they moved only {ratio:.2f}x the bytes of {of}"
    expect(outside_torch or ratio >= 1, sentence, hint=COUNTED)
    sentence = f"{what} should move at most {most:g}x the bytes of {of}, but moved {ratio:.0f}x ({_common(spent)})"
    expect(ratio <= most, sentence, hint=hint)


def expect_operators(spent: Cost, most: int, *, what: str, hint: str = "", least: int = 1) -> None:
    """The block ran `least` to `most` operators."""
    sentence = f"torch operators should do the work of {what}, but only {spent.operators} were seen"
    expect(spent.operators >= least, sentence, hint=COUNTED)
    sentence = f"{what} should take at most {most} operators, but took {spent.operators} ({_common(spent)})"
    expect(spent.operators <= most, sentence, hint=hint)


def expect_flat_operators(
    function: Callable[..., Any],
    inputs: Callable[[Any], Iterable[Any]],
    sizes: Iterable[Any],
    *,
    what: str,
    hint: str,
    slack: int = 0,
    times: float = 1,
    outside_torch: bool = False,
) -> None:
    """`function(*inputs(size))` takes as many operators at each size as at the first; at most `times` as many + `slack`.

    They must move the bytes of the inputs at least, because a loop outside torch is not counted. Where an answer may
    compute with something else, say so by `outside_torch`.
    """
    first: tuple[Any, int] | None = None
    for size in sizes:
        given = tuple(inputs(size))
        with measure() as spent:
            function(*given)
        first = first or (size, spent.operators)
        read = sum(each.nbytes for each in given if isinstance(each, Tensor))
        sentence = (
            f"torch operators should do the work of {what}, but moved {spent.bytes} bytes of {read} at size {size}"
        )
        expect(outside_torch or spent.bytes >= read, sentence, hint=COUNTED)
        sentence = f"{what} should take about as many operators at size {size} as at size {first[0]} ({first[1]})"
        expect(spent.operators <= times * first[1] + slack, f"{sentence}, but took {spent.operators}", hint=hint)


def _common(spent: Cost) -> str:
    """The most common operators, and how often each ran."""
    return ", ".join(f"{name} {count}" for name, count in spent.calls.most_common(5))
