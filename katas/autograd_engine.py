"""Scalar automatic differentiation.

Write a scalar automatic differentiation engine: values that remember how they were made, and `backward`. Why a topological
order, and what breaks without one?

The operations are + - * / and unary minus, ** with a number, exp, log, tanh and relu. An operation on Values makes a new
Value and changes none of its operands. A leaf is a Value that no operation has made; all others are inner.

y.backward() computes dy/dv for every Value v from which y was made, y included, whose gradient is 1, and then
  - adds it to v.grad if v is a leaf, as torch does: two calls without a zero_grad between them give the sum;
  - writes it to v.grad if v is inner: whatever an earlier call left there is gone, and is never passed on to leaves.
Values from which y was not made keep what they have. backward can be called again on y, and on any other Value.

Derivatives are those at the numbers that went into the operation. `data` may be written at any time, as an optimizer
does. That counts for operations that come later, and changes neither the results nor the derivatives of earlier ones.

Values are compared and hashed by identity, as plain objects are. Whatever a Value refers to, there are no reference
cycles: when the last result of a graph is dropped, the graph is freed at once, also without the garbage collector.

Free: how a Value remembers, how many inner Values an operation makes, whether `data` of Value(3) is an int or a float,
and what happens at infinities, NaN, and results that are too large for a float. Plain Python: no autograd of a library.

Stage 1: each operation, small expressions.  Stage 2: reuse, accumulation, data that is written in between, wrong
arguments.  Stage 3: large arguments, random graphs.  Stage 4: graphs of any depth; per operation at most 60 lines of this
file to make it and 100 in backward, 4 KB of memory, and 20 comparisons of Values; 200 lines more for each call. A round of
a comprehension counts as a line.

Sources: Wengert, "A simple automatic derivative evaluation program" (1964); Griewank and Walther, "Evaluating
Derivatives" (2008); Baydin et al., "Automatic Differentiation in Machine Learning: a Survey" (2018).
"""

import math
from collections.abc import Iterable


class Value:
    """A number that remembers how it was made.

    Operands are Values, ints and floats, a number on either side. A number is a constant and has no gradient.

    Attributes:
        data: the number.
        grad: float, 0.0 at first; see backward.
    """

    data: float
    grad: float

    def __init__(self, data: float) -> None:
        """A leaf."""
        raise NotImplementedError("autograd_engine.Value.__init__: write me")

    def __add__(self, other: "Value | float") -> "Value":
        """self + other"""
        raise NotImplementedError("autograd_engine.Value.__add__: write me")

    def __radd__(self, other: float) -> "Value":
        """other + self, with a number on the left; so sum() works."""
        raise NotImplementedError("autograd_engine.Value.__radd__: write me")

    def __sub__(self, other: "Value | float") -> "Value":
        """self - other"""
        raise NotImplementedError("autograd_engine.Value.__sub__: write me")

    def __rsub__(self, other: float) -> "Value":
        """other - self"""
        raise NotImplementedError("autograd_engine.Value.__rsub__: write me")

    def __mul__(self, other: "Value | float") -> "Value":
        """self * other"""
        raise NotImplementedError("autograd_engine.Value.__mul__: write me")

    def __rmul__(self, other: float) -> "Value":
        """other * self"""
        raise NotImplementedError("autograd_engine.Value.__rmul__: write me")

    def __truediv__(self, other: "Value | float") -> "Value":
        """self / other. Raises ZeroDivisionError if other is 0."""
        raise NotImplementedError("autograd_engine.Value.__truediv__: write me")

    def __rtruediv__(self, other: float) -> "Value":
        """other / self. Raises ZeroDivisionError if self is 0."""
        raise NotImplementedError("autograd_engine.Value.__rtruediv__: write me")

    def __neg__(self) -> "Value":
        """-self"""
        raise NotImplementedError("autograd_engine.Value.__neg__: write me")

    def __pow__(self, exponent: float) -> "Value":
        """self ** exponent, an int or a float. self ** 0 is 1, and its derivative 0, also at 0.

        Raises ValueError if the exponent is a Value, or if it is no whole number and self is negative; and
        ZeroDivisionError if it is negative and self is 0. Not asked: the derivative at 0 for exponents between 0 and 1.
        """
        raise NotImplementedError("autograd_engine.Value.__pow__: write me")

    def exp(self) -> "Value":
        """e ** self"""
        raise NotImplementedError("autograd_engine.Value.exp: write me")

    def log(self) -> "Value":
        """The natural logarithm. Raises ValueError if self is 0 or negative."""
        raise NotImplementedError("autograd_engine.Value.log: write me")

    def tanh(self) -> "Value":
        """The hyperbolic tangent, also of large numbers."""
        raise NotImplementedError("autograd_engine.Value.tanh: write me")

    def relu(self) -> "Value":
        """max(self, 0). Its derivative at 0 is 0."""
        raise NotImplementedError("autograd_engine.Value.relu: write me")

    def backward(self) -> None:
        """Computes the derivatives of self by all that it was made from, and adds or writes them to `grad`; see above."""
        raise NotImplementedError("autograd_engine.Value.backward: write me")


def zero_grad(values: Iterable[Value]) -> None:
    """Sets grad to 0.0 for each of the values, and for no other."""
    raise NotImplementedError("autograd_engine.zero_grad: write me")
