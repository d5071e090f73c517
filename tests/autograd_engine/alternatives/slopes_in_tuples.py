"""Each Value keeps its operands with their slopes, and backward walks down from the result, with gradients in a dict."""

import math


class Value:
    def __init__(self, data):
        self.data = data
        self.grad = 0.0
        self.parents = ()

    def __add__(self, other):
        o = lifted(other)
        return made(self.data + o.data, (self, 1.0), (o, 1.0))

    def __radd__(self, other):
        return self + other

    def __sub__(self, other):
        return self + -lifted(other)

    def __rsub__(self, other):
        return lifted(other) + -self

    def __mul__(self, other):
        o = lifted(other)
        return made(self.data * o.data, (self, o.data), (o, self.data))

    def __rmul__(self, other):
        return self * other

    def __truediv__(self, other):
        o = lifted(other)
        q = self.data / o.data
        return made(q, (self, 1.0 / o.data), (o, -q / o.data))

    def __rtruediv__(self, other):
        return lifted(other) / self

    def __neg__(self):
        return made(-self.data, (self, -1.0))

    def __pow__(self, exponent):
        if isinstance(exponent, Value):
            raise ValueError("exponent must be a number")
        if self.data < 0 and float(exponent) != int(exponent):
            raise ValueError("negative base")
        if exponent == 0:
            return made(1.0, (self, 0.0))
        y = self.data**exponent
        d = exponent * self.data ** (exponent - 1) if self.data != 0 or exponent >= 1 else 0.0
        return made(y, (self, d))

    def exp(self):
        e = math.exp(self.data)
        return made(e, (self, e))

    def log(self):
        if self.data <= 0:
            raise ValueError("log of nothing positive")
        return made(math.log(self.data), (self, 1 / self.data))

    def tanh(self):
        t = math.tanh(self.data)
        return made(t, (self, 1 - t * t))

    def relu(self):
        on = self.data > 0
        return made(self.data if on else 0.0, (self, 1.0 if on else 0.0))

    def backward(self):
        order, seen, stack = ([], set(), [(self, False)])
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
                continue
            if id(node) in seen:
                continue
            seen.add(id(node))
            stack.append((node, True))
            for parent, _ in node.parents:
                if id(parent) not in seen:
                    stack.append((parent, False))
        g = {id(node): 0.0 for node in order}
        g[id(self)] = 1.0
        for node in reversed(order):
            mine = g[id(node)]
            if node.parents:
                node.grad = mine
                for parent, d in node.parents:
                    g[id(parent)] += d * mine
            else:
                node.grad += mine


def zero_grad(values):
    for v in values:
        v.grad = 0.0


def lifted(x):
    return x if isinstance(x, Value) else Value(x)


def made(data, *parents):
    out = Value(data)
    out.parents = parents
    return out
