"""Stage 3. Large arguments, random graphs."""

import operator

import pytest
import torch

from dojo.testing import randint, randn

from .helpers import expect_gradients, expect_grads, expect_number, leaves, made

UNARY = ("exp", "log", "tanh", "relu")
# name -> (function, a, value, derivative)
LARGE = {
    "a.tanh() at 1000": (lambda a: a.tanh(), 1000.0, 1.0, 0.0),
    "a.tanh() at -1000": (lambda a: a.tanh(), -1000.0, -1.0, 0.0),
    "a.exp() at -1000": (lambda a: a.exp(), -1000.0, 0.0, 0.0),
    "a.exp() at 300": (lambda a: a.exp(), 300.0, 1.9424263952412558e130, 1.9424263952412558e130),
    "a.log() at 1e300": (lambda a: a.log(), 1e300, 690.7755278982137, 0.0),
    "a.log() at 1e-300": (lambda a: a.log(), 1e-300, -690.7755278982137, 1e300),
    "a.relu() at 1e300": (lambda a: a.relu(), 1e300, 1e300, 1.0),
    "a.relu() at -1e300": (lambda a: a.relu(), -1e300, 0.0, 0.0),
    "1e9 * tanh(a) at 1e-9": (lambda a: a.tanh() * 1e9, 1e-9, 1.0, 1e9),
    "a ** 0.5 at 1e-100": (lambda a: a**0.5, 1e-100, 1e-50, 5e49),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_and_small_arguments(name):
    """A result that fits into a float is right to its last digits."""
    function, a, value, slope = LARGE[name]
    result, _ = expect_gradients(function, (a,), (slope,), name, "the functions of math do not overflow here")
    expect_number(result.data, value, f"({name}).data", "the functions of math do not overflow here")


def random_graph(rng, values, operations):
    """The last of `operations` random steps on Values or tensors alike, which keep all numbers moderate."""
    choices = [randint(rng, 0, 10**6, 4).tolist() for _ in range(operations)]
    nodes = list(values)
    for kind, *places in choices:
        x, y = (nodes[-1 - place % min(len(nodes), 8)] for place in places[:2])
        number = 1 + places[2] % 3
        steps = (
            lambda x, y, n: x + y,
            lambda x, y, n: (x - y) / n,
            lambda x, y, n: n - x * y,
            lambda x, y, n: x / (y * y + n),
            lambda x, y, n: n / (x**2 + 1) - y,
            lambda x, y, n: (x * x + n).log() * y,
            lambda x, y, n: (-(x.tanh()) - n).exp() + y,
            lambda x, y, n: x.relu() - n * y.tanh(),
            lambda x, y, n: (x * x + 1) ** 0.5 - y * n,
        )
        nodes.append(steps[kind % len(steps)](x, y, number).tanh() * 2)
    return sum(nodes)


@pytest.mark.parametrize("leaf_count", [1, 2, 5])
def test_random_graphs_agree_with_torch(rng, leaf_count):
    """Fifty steps, each on two of the last eight results; the last digits may differ."""
    state = rng.get_state()
    numbers = randn(rng, leaf_count).tolist()
    tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    expected = random_graph(rng, tensors, 50)
    expected.backward()
    rng.set_state(state)
    values = leaves(*randn(rng, leaf_count).tolist())
    result = made(lambda: random_graph(rng, values, 50), (), "a random graph")
    result.backward()
    expect_number(result.data, expected.item(), "the data of a random graph", within=1e-10)
    expect_grads(values, [tensor.grad.item() for tensor in tensors], "backward of a random graph", within=1e-10)


def test_gradients_are_the_slopes(rng):
    """Of central differences, for a function of three numbers."""

    def function(a, b, c):
        return (a * b + c.exp()).tanh() / (1 + b**2) + (a - c) ** 3

    numbers, step = randn(rng, 3).tolist(), 1e-5
    slopes = []
    for place in range(3):
        ahead, behind = list(numbers), list(numbers)
        ahead[place] += step
        behind[place] -= step
        difference = function(*leaves(*ahead)).data - function(*leaves(*behind)).data
        slopes.append(difference / (2 * step))
    expect_gradients(function, numbers, slopes, "a function of three leaves", within=1e-6)


def test_gradients_are_linear(rng):
    """Those of 3 f - g are three times f's less g's."""
    numbers = randn(rng, 3).tolist()
    f = lambda a, b, c: (a * b).tanh() + c * c  # noqa: E731
    g = lambda a, b, c: (b - c).exp() / (a * a + 1)  # noqa: E731
    parts = []
    for function in (f, g):
        values = leaves(*numbers)
        made(function, values, "f(a, b, c)").backward()
        parts.append([value.grad for value in values])
    right = [3 * df - dg for df, dg in zip(*parts, strict=True)]
    expect_gradients(lambda *v: 3 * f(*v) - g(*v), numbers, right, "3 f - g", within=1e-10)


def test_the_order_of_operands_does_not_matter(rng):
    """a (b + c) and (c + b) a have one gradient."""
    numbers = randn(rng, 3).tolist()
    a, b, c = numbers
    for name, function in {
        "a * (b + c)": lambda a, b, c: operator.mul(a, b + c),
        "(c + b) * a": lambda a, b, c: operator.mul(c + b, a),
        "a * b + a * c": lambda a, b, c: a * b + a * c,
        "a * c + a * b": lambda a, b, c: a * c + a * b,
    }.items():
        expect_gradients(function, numbers, (b + c, a, a), name)
