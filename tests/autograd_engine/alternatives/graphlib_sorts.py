"""The order comes from graphlib; inner gradients are zeroed in place and then accumulate."""

import math
from graphlib import TopologicalSorter


class Value:
    def __init__(self, data):
        self.data = data
        self.grad = 0.0
        self.edges = []

    def __add__(self, other):
        return derived("add", self, other)

    def __radd__(self, other):
        return derived("add", other, self)

    def __sub__(self, other):
        return derived("sub", self, other)

    def __rsub__(self, other):
        return derived("sub", other, self)

    def __mul__(self, other):
        return derived("mul", self, other)

    def __rmul__(self, other):
        return derived("mul", other, self)

    def __truediv__(self, other):
        return derived("div", self, other)

    def __rtruediv__(self, other):
        return derived("div", other, self)

    def __neg__(self):
        return derived("sub", 0.0, self)

    def __pow__(self, exponent):
        if isinstance(exponent, Value):
            raise ValueError("exponent")
        return derived("pow", self, exponent)

    def exp(self):
        return derived("exp", self)

    def log(self):
        return derived("log", self)

    def tanh(self):
        return derived("tanh", self)

    def relu(self):
        return derived("relu", self)

    def backward(self):
        graph, todo = {}, [self]
        while todo:
            node = todo.pop()
            if node not in graph:
                graph[node] = {value for value, _ in node.edges}
                todo.extend(graph[node])
        for node in graph:
            if node.edges:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(list(TopologicalSorter(graph).static_order())):
            for value, slope in node.edges:
                value.grad += slope * node.grad


def derived(name, *operands):
    x, y = [v.data if isinstance(v, Value) else v for v in (*operands, 0)[:2]]
    if name == "add":
        z, slopes = x + y, (1.0, 1.0)
    elif name == "sub":
        z, slopes = x - y, (1.0, -1.0)
    elif name == "mul":
        z, slopes = x * y, (y, x)
    elif name == "div":
        z, slopes = x / y, (1 / y, -(x / y) / y)
    elif name == "pow":
        if x < 0 and y != int(y):
            raise ValueError(f"{x} ** {y}")
        z, slopes = x**y, (0.0 if y == 0 else y * x ** (y - 1), 0.0)
    elif name == "exp":
        z = math.exp(x)
        slopes = (z,)
    elif name == "log":
        z, slopes = math.log(x), (x**-1,)
    elif name == "tanh":
        z = math.tanh(x)
        slopes = (1 - z * z,)
    else:
        z, slopes = max(0.0, x), (1.0 if x > 0 else 0.0,)
    result = Value(z)
    result.edges = [(v, s) for v, s in zip(operands, slopes, strict=False) if isinstance(v, Value)]
    return result


def zero_grad(values):
    for value in values:
        value.grad = 0.0
