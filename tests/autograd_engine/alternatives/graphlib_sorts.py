"""The order comes from graphlib; a Value maps each operand to one slope, so x * x has a single edge of slope 2 x."""

import math
from graphlib import TopologicalSorter


class Value:
    def __init__(self, data, slopes=None):
        self.data, self.grad, self.slopes = data, 0.0, slopes or {}

    def __add__(self, other):
        return joined(number(self) + number(other), (self, 1.0), (other, 1.0))

    def __mul__(self, other):
        return joined(number(self) * number(other), (self, number(other)), (other, number(self)))

    def __rsub__(self, other):
        return joined(other - self.data, (self, -1.0))

    def __rtruediv__(self, other):
        return joined(other / self.data, (self, -other / self.data / self.data))

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        if isinstance(other, Value):
            ratio = self.data / other.data
            return joined(ratio, (self, 1 / other.data), (other, -ratio / other.data))
        return joined(self.data / other, (self, 1 / other))

    def __neg__(self):
        return 0.0 - self

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent):
        if isinstance(exponent, Value) or (self.data < 0 and exponent % 1):
            raise ValueError(f"no real power with a fixed exponent: {self.data} ** {exponent}")
        return joined(self.data**exponent, (self, exponent and exponent * self.data ** (exponent - 1)))

    def exp(self):
        return joined(math.exp(self.data), (self, math.exp(self.data)))

    def log(self):
        return joined(math.log(self.data), (self, 1 / self.data))

    def tanh(self):
        return joined(math.tanh(self.data), (self, 1 - math.tanh(self.data) ** 2))

    def relu(self):
        return joined(max(self.data, 0.0), (self, float(self.data > 0)))

    def backward(self):
        graph, todo = {}, [self]
        while todo:
            node = todo.pop()
            if node not in graph:
                graph[node] = node.slopes.keys()
                todo.extend(node.slopes)
        for node in graph:
            if node.slopes:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed([*TopologicalSorter(graph).static_order()]):
            for operand, slope in node.slopes.items():
                operand.grad += slope * node.grad


def number(operand):
    return operand.data if isinstance(operand, Value) else operand


def joined(data, *terms):
    slopes = {}
    for operand, slope in terms:
        if isinstance(operand, Value):
            slopes[operand] = slopes.get(operand, 0.0) + slope
    return Value(data, slopes)


def zero_grad(values):
    for value in values:
        value.grad = 0.0
