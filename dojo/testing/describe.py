"""Describes values in the messages of failing checks."""

from typing import Any

from torch import Tensor

MAX_ELEMENTS = 12  # of a tensor whose elements are shown where it is named
MAX_CHARS = 80


def describe(value: Any) -> str:
    """A short text for any value: a small tensor's elements, a large tensor's shape and dtype, or the start of repr()."""
    if isinstance(value, Tensor):
        if value.numel() <= MAX_ELEMENTS:
            return elements(value)
        return f"a tensor of shape {list(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."


def elements(tensor: Tensor) -> str:
    """All elements, floats with four digits: "[[1, 0.3333], [2, 3]]"."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return text(tensor.tolist())


def number(value: Any, digits: int) -> str:
    """A float with so many significant digits; the repr of any other value."""
    return f"{value:.{digits}g}" if isinstance(value, float) else repr(value)
