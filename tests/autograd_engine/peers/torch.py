"""torch's autograd on float64 scalars. A hook of each tensor hands its gradient to the Value; a number that is written later is
added to the tensor where it has no value left. torch divides by 0 and takes logarithms of what has none."""

import importlib
import weakref

library = importlib.import_module("torch")  # by its name: the tests refuse the import


class Value:
    def __init__(self, data):
        self.leaf, self.grad = True, 0.0
        self.tensor = library.tensor(float(data), dtype=library.float64, requires_grad=True)
        self.watch()

    def watch(self):
        ours = weakref.ref(self)

        def tell(grad):
            value = ours()
            if value is not None:
                value.grad = value.grad + grad.item() if value.leaf else grad.item()

        self.tensor.register_hook(tell)

    @property
    def data(self):
        return self.tensor.item()

    @data.setter
    def data(self, number):
        if self.leaf:
            self.tensor = library.tensor(float(number), dtype=library.float64, requires_grad=True)
            self.watch()
        else:
            self.tensor = self.tensor - self.tensor.detach() + float(number)

    def made(self, tensor):
        value = object.__new__(Value)
        value.leaf, value.grad, value.tensor = False, 0.0, tensor
        value.watch()
        return value

    def __add__(self, other):
        return self.made(self.tensor + of(other))

    def __mul__(self, other):
        return self.made(self.tensor * of(other))

    def __sub__(self, other):
        return self.made(self.tensor - of(other))

    def __rsub__(self, other):
        return self.made(other - self.tensor)

    def __truediv__(self, other):
        if of(other) == 0:
            raise ZeroDivisionError
        return self.made(self.tensor / of(other))

    def __rtruediv__(self, other):
        if self.data == 0:
            raise ZeroDivisionError
        return self.made(other / self.tensor)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self.made(-self.tensor)

    def __pow__(self, exponent):
        if isinstance(exponent, Value) or (self.data < 0 and exponent != int(exponent)):
            raise ValueError(exponent)
        if self.data == 0 and exponent < 0:
            raise ZeroDivisionError
        return self.made(self.tensor**exponent)

    def exp(self):
        return self.made(self.tensor.exp())

    def log(self):
        if self.data <= 0:
            raise ValueError(self.data)
        return self.made(self.tensor.log())

    def tanh(self):
        return self.made(self.tensor.tanh())

    def relu(self):
        return self.made(self.tensor.relu())

    def backward(self):
        self.tensor.backward(retain_graph=True)


def of(other):
    return other.tensor if isinstance(other, Value) else other


def zero_grad(values):
    for value in values:
        value.grad = 0.0
