"""Checks for a kata's tests. A failing check raises Wrong, whose message is a sentence for the learner.

Every check takes `what` (the expression under test, as the learner would name it) and `hint` (the likely mistake). The
message has the expected value, the actual value and the hint; the pytest plugin prints it above the traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dojo.testing.describe import MAX_ELEMENTS, describe, elements, number

MAX_ELEMENTS_COMPARED = 24  # of tensors that are printed below each other

# torch.testing.assert_close's defaults: relative, absolute. Its first call imports sympy, which takes half a second.
TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
} | dict.fromkeys((torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64), (0.0, 0.0))


class Wrong(AssertionError):
    """A wrong answer. The message is a complete explanation for the learner: `lines`, then the hint."""

    def __init__(self, *lines: str, hint: str = "") -> None:
        self.lines, self.hint = [*filter(None, lines)], hint
        super().__init__("\n".join([*self.lines, *([f"hint: {hint}"] if hint else [])]))


def expect(condition: object, sentence: str, *, hint: str = "") -> None:
    """`condition` holds; otherwise fails with `sentence`, which says what should have been and what was."""
    if not bool(condition):
        raise Wrong(sentence, hint=hint)


def expect_equal(actual: Any, expected: Any, *, what: str = "the result", hint: str = "") -> None:
    """`actual` equals `expected` exactly. Tensors need the same shape and dtype, and every element the same."""
    if isinstance(expected, Tensor):
        expect_close(actual, expected, what=what, hint=hint, rtol=0.0, atol=0.0)
    elif isinstance(actual, Tensor):
        kind = f"a tensor ({describe(actual)})" if actual.numel() <= MAX_ELEMENTS else describe(actual)
        raise Wrong(f"{what} should be {expected!r}, but is {kind}", hint=hint)
    elif actual != expected:
        raise Wrong(f"{what} should be {expected!r}, but is {describe(actual)}", hint=hint)


def expect_close(
    actual: Any,
    expected: Tensor,
    *,
    what: str = "the result",
    hint: str = "",
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """`torch.testing.assert_close` (dtype, shape, device, values; NaN is never right) with an explanation.

    The default tolerances are torch's for the dtype. Give both or neither, and say in the test why they are looser.
    """
    if not isinstance(actual, Tensor):
        raise Wrong(f"{what} should be a tensor of shape {list(expected.shape)}, but is {describe(actual)}", hint=hint)
    if actual.shape != expected.shape:
        raise Wrong(f"{what} should have shape {list(expected.shape)}, but has {list(actual.shape)}", hint=hint)
    if actual.dtype != expected.dtype:
        raise Wrong(f"{what} should keep dtype {expected.dtype}, but is {actual.dtype}", hint=hint)
    actual, expected = actual.detach(), expected.detach()
    if actual.dtype in TOLERANCES and _side_by_side(actual, expected):
        if rtol is None or atol is None:
            rtol, atol = TOLERANCES[actual.dtype]
        wrong = ~torch.isclose(actual, expected, rtol=rtol, atol=atol)
        if wrong.any():
            raise Wrong(*_difference(actual, expected, what, wrong), hint=hint)
        return
    try:
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise Wrong(f"{what}: {error}", hint=hint) from None


@contextmanager
def expect_raises(
    kind: type[BaseException] | tuple[type[BaseException], ...] = ValueError, *, what: str = "this call", hint: str = ""
) -> Iterator[None]:
    """The block raises `kind`. A NotImplementedError is passed on, so that an unwritten stub is "not started"."""
    names = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
    try:
        yield
    except kind:
        return
    except NotImplementedError:
        raise
    except Exception as error:
        raise Wrong(f"{what} should raise {names}, but raised {type(error).__name__}: {error}", hint=hint) from error
    raise Wrong(f"{what} should raise {names}, but returned normally", hint=hint)


@contextmanager
def called_for(what: str, *, hint: str = "") -> Iterator[None]:
    """What the block raises is told together with `what` it was called for, and with the hint; nothing else changes."""
    try:
        yield
    except (NotImplementedError, Wrong):
        raise
    except Exception as error:
        error.add_note(f"It was called for {what}")
        if hint:
            error.add_note(f"hint: {hint}")
        raise


@contextmanager
def expect_unchanged(
    *tensors: Tensor, what: str = "the input", hint: str = "work out of place, or on a clone"
) -> Iterator[None]:
    """The block modifies none of `tensors`."""
    before = [t.detach().clone() for t in tensors]
    yield
    for old, new in zip(before, tensors, strict=True):
        new = new.detach()
        same = old.shape == new.shape and bool(((old == new) | ((old != old) & (new != new))).all())
        expect(same, f"{what} should not be modified, but the call changed it", hint=hint)


@contextmanager
def expect_rng_untouched(
    *, what: str = "the call", hint: str = "pass `generator` on to everything that draws"
) -> Iterator[None]:
    """The block draws nothing from torch's global random stream."""
    before = torch.random.get_rng_state()
    yield
    same = torch.equal(before, torch.random.get_rng_state())
    expect(same, f"{what} should leave the global random stream alone, but drew from it", hint=hint)


def _side_by_side(actual: Tensor, expected: Tensor) -> bool:
    """Whether both are ordinary tensors in the same memory, so that their elements can be compared at once."""
    return actual.device == expected.device and actual.layout == expected.layout == torch.strided and not actual.is_meta


def _difference(actual: Tensor, expected: Tensor, what: str, wrong: Tensor) -> tuple[str, str]:
    """The first of the `wrong` elements as a sentence, and both tensors if they are small."""
    first = wrong.nonzero()[0].tolist()
    place = f"{what} at {first}" if first else what
    got, wanted = actual[tuple(first)].item(), expected[tuple(first)].item()
    digits = 6 if number(got, 6) != number(wanted, 6) else 17
    sentence = f"{place} should be {number(wanted, digits)}, but is {number(got, digits)}"
    if got != got and wanted != wanted:
        sentence = f"{place} is NaN, and so is what it is compared with, which your code gave too"
    if actual.numel() > 1:
        sentence += f" ({int(wrong.sum())} of {actual.numel()} values differ)"
    both = f"expected  {elements(expected)}\ngot       {elements(actual)}"
    return sentence, both if 1 < actual.numel() <= MAX_ELEMENTS_COMPARED else ""
