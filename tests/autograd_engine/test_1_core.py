"""Stage 1. Each operation, small expressions."""

import math

import pytest

from dojo.testing import expect, expect_own_work
from katas import autograd_engine
from katas.autograd_engine import Value

from .helpers import FORBIDDEN, expect_gradients, expect_number, expect_value, leaves, made

# expression -> (function, its numbers, its value, its derivatives)
OPERATIONS = {
    "a + b": (lambda a, b: a + b, (2.0, 5.0), 7.0, (1.0, 1.0)),
    "a - b": (lambda a, b: a - b, (2.0, 5.0), -3.0, (1.0, -1.0)),
    "a * b": (lambda a, b: a * b, (2.0, 5.0), 10.0, (5.0, 2.0)),
    "a / b": (lambda a, b: a / b, (2.0, 4.0), 0.5, (0.25, -0.125)),
    "-a": (lambda a: -a, (2.0,), -2.0, (-1.0,)),
    "a ** 3": (lambda a: a**3, (2.0,), 8.0, (12.0,)),
    "a ** 0.5": (lambda a: a**0.5, (9.0,), 3.0, (1 / 6,)),
    "a ** -2": (lambda a: a**-2, (2.0,), 0.25, (-0.25,)),
    "a.exp()": (lambda a: a.exp(), (1.5,), math.exp(1.5), (math.exp(1.5),)),
    "a.log()": (lambda a: a.log(), (4.0,), math.log(4.0), (0.25,)),
    "a.tanh()": (lambda a: a.tanh(), (math.atanh(0.6),), 0.6, (0.64,)),
    "a.relu()": (lambda a: a.relu(), (3.0,), 3.0, (1.0,)),
    "(-a).relu()": (lambda a: (-a).relu(), (3.0,), 0.0, (0.0,)),
}


def test_the_engine_is_your_own():
    """Not that of a library."""
    Value(1.0)
    expect_own_work(autograd_engine, FORBIDDEN)


def test_a_new_value_has_its_number_and_no_gradient():
    """A leaf."""
    a = Value(2.5)
    expect_number(a.data, 2.5, "Value(2.5).data")
    expect_number(a.grad, 0.0, "Value(2.5).grad")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_value_of_an_operation(name):
    """A new Value, whose gradient is 0 until backward is called."""
    function, numbers, right, _ = OPERATIONS[name]
    result = made(function, leaves(*numbers), name)
    expect_value(result, right, f"{name} at {numbers}")
    expect_number(result.grad, 0.0, f"({name}).grad before backward")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_derivatives_of_an_operation(name):
    """By each of its operands."""
    function, numbers, _, right = OPERATIONS[name]
    expect_gradients(function, numbers, right, f"{name} at {numbers}", "the derivative of the operation itself")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_chain_rule_of_an_operation(name):
    """What follows it multiplies its derivatives; here by -1, then by 3."""
    function, numbers, _, right = OPERATIONS[name]
    hint = "the gradient of the result times the derivative of the operation"
    expect_gradients(lambda *v: -function(*v), numbers, [-d for d in right], f"-({name}) at {numbers}", hint)
    third = Value(3.0)
    expect_gradients(lambda *v: function(*v) * third, numbers, [3 * d for d in right], f"({name}) * 3", hint)


def test_the_result_has_gradient_1():
    """dy/dy: that is where backward begins."""
    result, _ = expect_gradients(lambda a, b: a * b, (2.0, 5.0), (5.0, 2.0), "a * b at (2, 5)")
    expect_number(result.grad, 1.0, "(a * b).grad after (a * b).backward()")


def test_inner_values_get_their_gradients():
    """d = a b, then d c: the gradient of d is c."""
    a, b, c = leaves(2.0, 5.0, 7.0)
    inner = a * b
    made(lambda: inner * c, (), "(a * b) * c").backward()
    expect_number(inner.grad, 7.0, "(a * b).grad after ((a * b) * c).backward()", "inner Values have a grad as well")


def test_operations_leave_their_operands_alone():
    """Their numbers and gradients are what they were."""
    a, b = leaves(2.0, 5.0)
    for function in (lambda: a + b, lambda: a - b, lambda: a * b, lambda: a / b, lambda: -a, lambda: a**2):
        expect(function() is not a, "an operation should make a new Value, but returned its operand")
    for function in (a.exp, a.log, a.tanh):
        function()
    for value, right in ((a, 2.0), (b, 5.0)):
        expect_number(value.data, right, "an operand's data after operations", "make a new Value")
        expect_number(value.grad, 0.0, "an operand's grad after operations", "only backward writes gradients")


def test_a_neuron():
    """tanh(w x + v y + b), worked by hand: the derivative of tanh is 0.64 where it is 0.6."""
    b = math.atanh(0.6) - 2.0
    function = lambda w, x, v, y, b: (w * x + v * y + b).tanh()  # noqa: E731
    numbers = (2.0, 3.0, -1.0, 4.0, b)
    result, _ = expect_gradients(function, numbers, (1.92, 1.28, 2.56, -0.64, 0.64), "tanh(a b + c d + e)")
    expect_value(result, 0.6, "tanh(a b + c d + e)")


def test_a_composition():
    """log(exp(a) + exp(b)): the derivatives are the shares of the two."""
    function = lambda a, b: (a.exp() + b.exp()).log()  # noqa: E731
    numbers = (math.log(1.0), math.log(3.0))
    expect_gradients(function, numbers, (0.25, 0.75), "(a.exp() + b.exp()).log()")
