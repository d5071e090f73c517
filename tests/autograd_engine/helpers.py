"""Checks of numbers, Values and gradients. Numbers may be ints; within rounding unless a test says otherwise."""

from dojo.testing import Wrong, called_for, expect
from dojo.testing.describe import describe
from katas.autograd_engine import Value

FORBIDDEN = ("torch.autograd", "torch.func", "torch.tensor", "torch.as_tensor", "torch.Tensor")
ROUNDING = 1e-12


def expect_number(actual, expected, what, hint="", within=ROUNDING):
    """`actual` is a number, and as near to `expected` as rounding allows, relative to it (or to 1, where it is smaller)."""
    if not isinstance(actual, int | float):
        raise Wrong(f"{what} should be the number {expected:.6g}, but is {describe(actual)}", hint=hint)
    near = abs(actual - expected) <= within * max(1.0, abs(expected))
    digits = 6 if f"{actual:.6g}" != f"{expected:.6g}" else 17
    expect(near, f"{what} should be {expected:.{digits}g}, but is {actual:.{digits}g}", hint=hint)


def expect_value(result, expected, what, hint="", within=ROUNDING):
    """`result` is a Value with this number."""
    expect(isinstance(result, Value), f"{what} should be a Value, but is {describe(result)}", hint=hint)
    expect_number(result.data, expected, f"({what}).data", hint, within)


def leaves(*numbers):
    return [Value(number) for number in numbers]


def made(function, values, what):
    """What `function` makes of these Values, if it is a Value."""
    with called_for(what):
        result = function(*values)
    expect(isinstance(result, Value), f"{what} should be a Value, but is {describe(result)}")
    return result


def expect_gradients(function, numbers, expected, what, hint="", within=ROUNDING):
    """The gradients of function(*leaves) by leaves with these numbers. Returns the result and the leaves."""
    values = leaves(*numbers)
    result = made(function, values, what)
    with called_for(f"({what}).backward()"):
        result.backward()
    expect_grads(values, expected, f"({what}).backward()", hint, within)
    return result, values


def expect_grads(values, expected, what, hint="", within=ROUNDING):
    """These Values have these gradients; they are called a, b, c ..."""
    for name, value, right in zip("abcdefghij", values, expected, strict=False):
        expect_number(value.grad, right, f"{name}.grad after {what}", hint, within)
