"""A counter numbers all Values; backward takes the youngest first from a heap. Rules are a table of forward and derivatives."""

import heapq
import itertools
import math

BIRTHS = itertools.count()


def power(x, n):
    y = x**n
    if isinstance(y, complex):
        raise ValueError("no real power")
    return y


RULES = {
    "add": (lambda x, y: x + y, lambda x, y, z: (1, 1)),
    "sub": (lambda x, y: x - y, lambda x, y, z: (1, -1)),
    "mul": (lambda x, y: x * y, lambda x, y, z: (y, x)),
    "div": (lambda x, y: x / y, lambda x, y, z: (1 / y, -z / y)),
    "pow": (power, lambda x, n, z: (n * x ** (n - 1) if n != 0 else 0, 0)),
    "exp": (math.exp, lambda x, z: (z,)),
    "log": (math.log, lambda x, z: (1 / x,)),
    "tanh": (math.tanh, lambda x, z: ((1 - z) * (1 + z),)),
    "relu": (lambda x: x if x > 0 else 0.0, lambda x, z: (0 if z == 0 else 1,)),
}


def record(name, *operands):
    numbers = [operand.data if isinstance(operand, Value) else operand for operand in operands]
    made = Value(RULES[name][0](*numbers))
    made.recipe = (name, numbers, made.data, operands)
    return made


class Value:
    __slots__ = ("birth", "data", "grad", "recipe")

    def __init__(self, data):
        self.data, self.grad, self.recipe, self.birth = data, 0.0, None, next(BIRTHS)

    def __add__(self, other):
        return record("add", self, other)

    def __radd__(self, other):
        return record("add", other, self)

    def __sub__(self, other):
        return record("sub", self, other)

    def __rsub__(self, other):
        return record("sub", other, self)

    def __mul__(self, other):
        return record("mul", self, other)

    def __rmul__(self, other):
        return record("mul", other, self)

    def __truediv__(self, other):
        return record("div", self, other)

    def __rtruediv__(self, other):
        return record("div", other, self)

    def __neg__(self):
        return record("sub", 0.0, self)

    def __pow__(self, exponent):
        if isinstance(exponent, Value):
            raise ValueError("exponent")
        return record("pow", self, exponent)

    def exp(self):
        return record("exp", self)

    def log(self):
        return record("log", self)

    def tanh(self):
        return record("tanh", self)

    def relu(self):
        return record("relu", self)

    def backward(self):
        heap, waiting = [-self.birth], {-self.birth: [self, 1.0]}
        while heap:
            node, gradient = waiting.pop(heapq.heappop(heap))
            if node.recipe is None:
                node.grad += gradient
                continue
            node.grad = gradient
            name, numbers, result, operands = node.recipe
            for operand, slope in zip(operands, RULES[name][1](*numbers, result), strict=True):
                if isinstance(operand, Value):
                    key = -operand.birth
                    if key not in waiting:
                        heapq.heappush(heap, key)
                        waiting[key] = [operand, 0.0]
                    waiting[key][1] += gradient * slope


def zero_grad(values):
    for value in values:
        value.grad = 0.0
