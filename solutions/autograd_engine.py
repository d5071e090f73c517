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
        # kata: begin
        self.data = data
        self.grad = 0.0
        # What it was made from, with the derivative by each. Numbers instead of closures: they cannot refer to the result.
        self._inputs: tuple[tuple[Value, float], ...] = ()
        # kata: end

    def __add__(self, other: "Value | float") -> "Value":
        """self + other"""
        # kata: begin
        return _made(self.data + _number(other), (self, 1.0), (other, 1.0))
        # kata: end

    def __radd__(self, other: float) -> "Value":
        """other + self, with a number on the left; so sum() works."""
        # kata: begin
        return self + other
        # kata: end

    def __sub__(self, other: "Value | float") -> "Value":
        """self - other"""
        # kata: begin
        return _made(self.data - _number(other), (self, 1.0), (other, -1.0))
        # kata: end

    def __rsub__(self, other: float) -> "Value":
        """other - self"""
        # kata: begin
        return Value(other) - self
        # kata: end

    def __mul__(self, other: "Value | float") -> "Value":
        """self * other"""
        # kata: begin
        number = _number(other)
        return _made(self.data * number, (self, number), (other, self.data))
        # kata: end

    def __rmul__(self, other: float) -> "Value":
        """other * self"""
        # kata: begin
        return self * other
        # kata: end

    def __truediv__(self, other: "Value | float") -> "Value":
        """self / other. Raises ZeroDivisionError if other is 0."""
        # kata: begin
        number = _number(other)
        quotient = self.data / number
        return _made(quotient, (self, 1.0 / number), (other, -quotient / number))
        # kata: end

    def __rtruediv__(self, other: float) -> "Value":
        """other / self. Raises ZeroDivisionError if self is 0."""
        # kata: begin
        return Value(other) / self
        # kata: end

    def __neg__(self) -> "Value":
        """-self"""
        # kata: begin
        return _made(-self.data, (self, -1.0))
        # kata: end

    def __pow__(self, exponent: float) -> "Value":
        """self ** exponent, an int or a float. self ** 0 is 1, and its derivative 0, also at 0.

        Raises ValueError if the exponent is a Value, or if it is no whole number and self is negative; and
        ZeroDivisionError if it is negative and self is 0. Not asked: the derivative at 0 for exponents between 0 and 1.
        """
        # kata: begin
        if isinstance(exponent, Value):
            raise ValueError("the exponent must be a number; write (b * a.log()).exp() for a ** b")
        if self.data < 0 and exponent % 1:
            raise ValueError(f"{self.data} ** {exponent} is not a real number")
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return _made(self.data**exponent, (self, slope))
        # kata: end

    def exp(self) -> "Value":
        """e ** self"""
        # kata: begin
        power = math.exp(self.data)
        return _made(power, (self, power))
        # kata: end

    def log(self) -> "Value":
        """The natural logarithm. Raises ValueError if self is 0 or negative."""
        # kata: begin
        return _made(math.log(self.data), (self, 1.0 / self.data))
        # kata: end

    def tanh(self) -> "Value":
        """The hyperbolic tangent, also of large numbers."""
        # kata: begin
        tanh = math.tanh(self.data)
        return _made(tanh, (self, 1.0 - tanh * tanh))
        # kata: end

    def relu(self) -> "Value":
        """max(self, 0). Its derivative at 0 is 0."""
        # kata: begin
        return _made(self.data, (self, 1.0)) if self.data > 0 else _made(0.0, (self, 0.0))
        # kata: end

    def backward(self) -> None:
        """Computes the derivatives of self by all that it was made from, and adds or writes them to `grad`; see above."""
        # kata: begin
        order = self._topological_order()
        grads = dict.fromkeys(order, 0.0)
        grads[self] = 1.0
        for node in reversed(order):  # complete, since all that was made from it has had its turn
            for value, slope in node._inputs:
                grads[value] += slope * grads[node]
        for node in order:
            node.grad = grads[node] if node._inputs else node.grad + grads[node]
        # kata: end

    # kata: begin
    def _topological_order(self) -> "list[Value]":
        """All that self was made from, and self; each after what it was made from. Post-order, with a stack of its own."""
        order: list[Value] = []
        visited = set()
        stack = [(self, False)]
        while stack:
            node, inputs_are_done = stack.pop()
            if inputs_are_done:
                order.append(node)
            elif node not in visited:
                visited.add(node)
                stack.append((node, True))
                stack.extend((value, False) for value, _ in node._inputs)
        return order

    # kata: end


# kata: begin
def _number(operand: Value | float) -> float:
    return operand.data if isinstance(operand, Value) else operand


def _made(data: float, *inputs: tuple[Value | float, float]) -> Value:
    """An inner Value. Of its inputs, with the derivative by each, only Values are kept."""
    result = Value(data)
    result._inputs = tuple((value, slope) for value, slope in inputs if isinstance(value, Value))
    return result


# kata: end


def zero_grad(values: Iterable[Value]) -> None:
    """Sets grad to 0.0 for each of the values, and for no other."""
    # kata: begin
    for value in values:
        value.grad = 0.0
    # kata: end
