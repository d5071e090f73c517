"""Closures that add to a dictionary of the call, and hold numbers and operands; an order by an explicit stack of iterators."""

import math


class Value:
    def __init__(self, data, parents=(), push=None):
        self.data, self.grad = float(data), 0.0
        self.parents, self.push = parents, push

    def __add__(self, other):
        if not isinstance(other, Value):
            return Value(self.data + other, (self,), lambda g, add: add(self, g))

        def push(g, add):
            add(self, g)
            add(other, g)

        return Value(self.data + other.data, (self, other), push)

    __radd__ = __add__

    def __mul__(self, other):
        if not isinstance(other, Value):
            return Value(self.data * other, (self,), lambda g, add: add(self, g * other))
        x, y = self.data, other.data

        def push(g, add):
            add(self, g * y)
            add(other, g * x)

        return Value(x * y, (self, other), push)

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * other**-1 if isinstance(other, Value) else self * (1 / other)

    def __rtruediv__(self, other):
        return self**-1 * other

    def __pow__(self, n):
        if isinstance(n, Value):
            raise ValueError("a Value cannot be an exponent")
        x = self.data
        y = x**n
        if isinstance(y, complex):
            raise ValueError("complex")
        return Value(y, (self,), lambda g, add: add(self, g * n * x ** (n - 1) if n else 0.0))

    def _unary(self, y, slope):
        return Value(y, (self,), lambda g, add: add(self, g * slope))

    def exp(self):
        y = math.exp(self.data)
        return self._unary(y, y)

    def log(self):
        return self._unary(math.log(self.data), 1 / self.data)

    def tanh(self):
        y = math.tanh(self.data)
        return self._unary(y, 1 - y**2)

    def relu(self):
        return self._unary(max(self.data, 0.0), float(self.data > 0))

    def backward(self):
        order, visited, stack = [], {self}, [(self, iter(self.parents))]
        while stack:
            node, parents = stack[-1]
            for parent in parents:
                if parent not in visited:
                    visited.add(parent)
                    stack.append((parent, iter(parent.parents)))
                    break
            else:
                order.append(node)
                stack.pop()
        sums = {self: 1.0}

        def add(node, amount):
            sums[node] = sums.get(node, 0.0) + amount

        for node in order[::-1]:
            g = sums[node]
            if node.push is None:
                node.grad += g
            else:
                node.grad = g
                node.push(g, add)


def zero_grad(values):
    for value in values:
        value.grad = 0.0
