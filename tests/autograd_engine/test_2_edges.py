"""Stage 2. Reuse, accumulation, data that is written in between, wrong arguments."""

import operator

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.autograd_engine import Value, zero_grad

from .helpers import expect_gradients, expect_grads, expect_number, expect_value, leaves, made

ADD = "each use of a Value adds to its gradient"
ORDER = "a Value passes its gradient on only when all that was made from it has had its turn"
LEAVES = "backward adds to the gradients of leaves; those of inner Values are of this call alone"
THEN = "keep the numbers that the derivative needs when the operation is made; data may be written later"

REUSE = {
    "a + a": (lambda a: a + a, (3.0,), (2.0,)),
    "a * a": (lambda a: a * a, (3.0,), (6.0,)),
    "a - a": (lambda a: a - a, (3.0,), (0.0,)),
    "a / a": (lambda a: a / a, (3.0,), (0.0,)),
    "(a + b) + a": (lambda a, b: (a + b) + a, (3.0, 5.0), (2.0, 1.0)),
    "(a * b) * a": (lambda a, b: (a * b) * a, (3.0, 5.0), (30.0, 9.0)),
}
# Graphs in which a Value h = a * b is used at several depths, with the factor by which h counts in all.
DIAMONDS = {
    "h + (h + 1)": (lambda h: h + (h + 1), 2.0),
    "(h + 1) + h": (lambda h: (h + 1) + h, 2.0),
    "h * 2 + h * 3": (lambda h: h * 2 + h * 3, 5.0),
    "h + (((h + 1) + 1) + 1)": (lambda h: h + (((h + 1) + 1) + 1), 2.0),
    "(((h + 1) + 1) + 1) + h": (lambda h: (((h + 1) + 1) + 1) + h, 2.0),
    "(h + (h + 1)) + h": (lambda h: (h + (h + 1)) + h, 3.0),
}
# expression -> (function, a, value, derivative)
NUMBERS = {
    "a + 2": (lambda a: a + 2, 5.0, 7.0, 1.0),
    "2 + a": (lambda a: 2 + a, 5.0, 7.0, 1.0),
    "a - 2": (lambda a: a - 2, 5.0, 3.0, 1.0),
    "2 - a": (lambda a: 2 - a, 5.0, -3.0, -1.0),
    "a * 2": (lambda a: a * 2, 5.0, 10.0, 2.0),
    "2 * a": (lambda a: 2 * a, 5.0, 10.0, 2.0),
    "a / 2": (lambda a: a / 2, 5.0, 2.5, 0.5),
    "2 / a": (lambda a: 2 / a, 4.0, 0.5, -0.125),
    "a / 2 at an int": (lambda a: a / 2, 3, 1.5, 0.5),
    "1 - a ** 2 at an int": (lambda a: 1 - a**2, 3, -8.0, -6.0),
    "a ** 2 at -3": (lambda a: a**2, -3.0, 9.0, -6.0),
    "a ** -3 at -2": (lambda a: a**-3, -2.0, -0.125, -0.1875),
    "a ** 1 at 0": (lambda a: a**1, 0.0, 0.0, 1.0),
    "a ** 2 at 0": (lambda a: a**2, 0.0, 0.0, 0.0),
    "a ** 0": (lambda a: a**0, 5.0, 1.0, 0.0),
    "a ** 0 at 0": (lambda a: a**0, 0.0, 1.0, 0.0),
    "a.relu() at 0": (lambda a: a.relu(), 0.0, 0.0, 0.0),
    "a * 3 at 0": (lambda a: a * 3, 0.0, 0.0, 3.0),
}
WRITTEN = {
    "a * b": (lambda a, b: a * b, (5.0, 2.0)),
    "a / b": (lambda a, b: a / b, (0.2, -0.08)),
    "4 / a": (lambda a, b: 4 / a, (-1.0, 0.0)),
    "a ** 3": (lambda a, b: a**3, (12.0, 0.0)),
    "a.exp()": (lambda a, b: a.exp(), (7.38905609893065, 0.0)),
    "a.log()": (lambda a, b: a.log(), (0.5, 0.0)),
    "a.tanh()": (lambda a, b: a.tanh(), (0.0706508248531645, 0.0)),
    "a.relu()": (lambda a, b: a.relu(), (1.0, 0.0)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_plain_numbers_and_special_places(name):
    """A number on either side is a constant; an int is a number."""
    function, a, value, slope = NUMBERS[name]
    what = f"{name.split(' at ')[0]} at a = {a}"
    result, _ = expect_gradients(function, (a,), (slope,), what, "the derivative by the Value")
    expect_value(result, value, what, "the order of the operands, and a number that is no Value")


def test_sum_adds_values():
    """It begins with 0 + the first."""
    expect_gradients(lambda *values: sum(values), (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), "sum([a, b, c])")


def test_adding_in_place_makes_a_new_value():
    """`a += b` names another Value; the old one is still the leaf."""
    old, b = leaves(2.0, 5.0)
    a = old
    a += b
    a *= b
    a.backward()
    expect_value(old, 2.0, "a before a += b", "a += b is a = a + b")
    expect_grads((old, b), (5.0, 12.0), "a += b; a *= b; a.backward()")


@pytest.mark.parametrize("name", REUSE)
def test_a_value_that_is_used_twice_counts_twice(name):
    """Also if both uses are in one operation."""
    function, numbers, right = REUSE[name]
    expect_gradients(function, numbers, right, f"{name} at {numbers}", ADD)


@pytest.mark.parametrize("name", DIAMONDS)
def test_an_inner_value_that_is_used_at_several_depths(name):
    """Whether the short path comes first or the long one."""
    function, factor = DIAMONDS[name]
    a, b = leaves(3.0, 5.0)
    h = a * b
    made(function, (h,), name).backward()
    expect_number(h.grad, factor, f"h.grad after ({name}).backward()", ADD)
    expect_grads((a, b), (5.0 * factor, 3.0 * factor), f"({name}).backward(), with h = a * b at (3, 5)", ORDER)


def test_a_ladder_of_doublings():
    """b = b + b six times: 2^6 paths lead to the leaf."""
    a = Value(1.5)
    b = a
    for _ in range(6):
        b = b + b
    b.backward()
    expect_number(a.grad, 64.0, "a.grad after b = a, six times b = b + b, and b.backward()", ORDER)


def test_leaves_with_equal_numbers_are_different():
    """Values are compared and hashed by identity."""
    a, b, c = leaves(2.0, 2.0, 2.0)
    hint = "do not define __eq__; or nodes that happen to have equal numbers are taken for one"
    expect_equal([a == b, a == a, len({a, b, c})], [False, True, 3], what="[a == b, a == a, len({a, b, c})]", hint=hint)
    ((a + b) * 3 + c * a).backward()
    expect_grads((a, b, c), (5.0, 3.0, 2.0), "((a + b) * 3 + c * a).backward() at (2, 2, 2)", hint)


def test_a_leaf_that_is_not_used_keeps_its_gradient():
    """And so does everything that was made beside the result."""
    a, b, unused = leaves(2.0, 5.0, 7.0)
    beside = a * unused
    unused.grad = 4.0
    made(operator.mul, (a, b), "a * b").backward()
    expect_number(unused.grad, 4.0, "the gradient of a leaf from which the result was not made")
    expect_number(beside.grad, 0.0, "the gradient of an inner Value from which the result was not made")
    expect_grads((a, b), (5.0, 2.0), "(a * b).backward()")


def test_backward_of_a_leaf():
    """Its derivative by itself is 1, and it is a leaf, so 1 is added."""
    a = Value(2.0)
    for calls in (1.0, 2.0):
        a.backward()
        expect_number(a.grad, calls, f"a.grad after {calls:.0f} calls of a.backward()", LEAVES)


def test_backward_twice_doubles_the_gradients_of_leaves():
    """And not those of inner Values, which would be passed on to leaves a second time."""
    a, b = leaves(2.0, 5.0)
    h = a * b
    result = h * a + b
    for calls in (1, 2, 3):
        result.backward()
        after = f"{calls} calls of (h * a + b).backward(), with h = a * b at (2, 5)"
        expect_grads((a, b), (20.0 * calls, 5.0 * calls), after, LEAVES)
        expect_number(h.grad, 2.0, f"h.grad after {after}", LEAVES)
        expect_number(result.grad, 1.0, f"the result's grad after {after}", LEAVES)


def test_two_results_add_up_in_their_leaves():
    """As the losses of two batches do. The first result keeps its gradient."""
    a, b, c = leaves(2.0, 5.0, 7.0)
    first, second = a * b, a * c
    first.backward()
    second.backward()
    expect_grads((a, b, c), (12.0, 2.0, 2.0), "(a * b).backward() and (a * c).backward()", LEAVES)
    hint = "backward writes only to what its result was made from"
    expect_number(first.grad, 1.0, "the first result's grad after the second backward", hint)


def test_two_results_that_share_an_inner_value():
    """Its gradient is of the last call, and leaves get each call's once."""
    a, b = leaves(2.0, 5.0)
    h = a * b
    first, second = h * 3, h * 4
    first.backward()
    second.backward()
    expect_number(h.grad, 4.0, "h.grad after (h * 3).backward() and (h * 4).backward()", LEAVES)
    expect_grads((a, b), (35.0, 14.0), "(h * 3).backward() and (h * 4).backward(), with h = a * b at (2, 5)", LEAVES)


def test_backward_of_an_inner_value():
    """Before and after that of the result. The result is not touched by it."""
    a, b = leaves(2.0, 5.0)
    h = a * b
    result = h * 3
    for value in (h, result, h):
        value.backward()
    expect_number(h.grad, 1.0, "h.grad after h.backward(), (h * 3).backward(), h.backward()", LEAVES)
    expect_grads((a, b), (25.0, 10.0), "h.backward(), (h * 3).backward(), h.backward(), with h = a * b", LEAVES)
    expect_number(result.grad, 1.0, "the result's grad after h.backward()")


def test_what_stands_in_the_gradient_of_an_inner_value_is_overwritten():
    """And is passed on to nobody. To that of a leaf, it is added."""
    a, b = leaves(2.0, 5.0)
    h = a * b
    result = h + b
    a.grad, h.grad, result.grad = 10.0, 20.0, 30.0
    result.backward()
    expect_number(h.grad, 1.0, "h.grad, which was 20, after backward", LEAVES)
    expect_number(result.grad, 1.0, "the result's grad, which was 30, after backward", LEAVES)
    expect_grads((a, b), (15.0, 3.0), "backward of a * b + b, with a.grad = 10 before", LEAVES)


def test_zero_grad_zeroes_the_given_values():
    """These and no others. Then gradients begin anew."""
    a, b = leaves(2.0, 5.0)
    result = a * b
    result.backward()
    zero_grad([a])
    expect_grads((a, b), (0.0, 2.0), "zero_grad([a])", "every value that is given, and no other")
    expect_value(a, 2.0, "a after zero_grad([a])")
    expect_number(result.grad, 1.0, "the result's grad after zero_grad([a])")
    result.backward()
    expect_grads((a, b), (5.0, 4.0), "backward, zero_grad([a]), backward")


def test_zero_grad_takes_any_iterable():
    """A list, a set, a generator, nothing at all."""
    values = leaves(2.0, 5.0, 7.0)
    for given in (values, set(values), (value for value in values), iter([values[2], values[0], values[1]])):
        for value in values:
            value.grad = 3.0
        zero_grad(given)
        expect_grads(values, (0.0, 0.0, 0.0), f"zero_grad of a {type(given).__name__}")
    zero_grad([])
    inner = values[0] * values[1]
    inner.backward()
    zero_grad([inner])
    expect_number(inner.grad, 0.0, "h.grad after zero_grad([h]), with h = a * b")


@pytest.mark.parametrize("name", WRITTEN)
def test_data_that_is_written_later_changes_no_derivative(name):
    """An optimizer may step between an operation and its backward."""
    function, right = WRITTEN[name]
    a, b = leaves(2.0, 5.0)
    result = made(function, (a, b), name)
    a.data, b.data = -3.0, -7.0
    result.backward()
    expect_grads((a, b), right, f"backward of {name} at (2, 5), with data written before", THEN)
    a, b = leaves(2.0, 5.0)
    result = made(function, (a, b), name)
    result.data = -9.0
    result.backward()
    expect_grads((a, b), right, f"backward of {name} at (2, 5), with its own data written before", THEN)


def test_data_that_is_written_counts_for_later_operations():
    """So that the next forward pass sees the step."""
    a, b = leaves(2.0, 5.0)
    first = a * b
    a.data = 3.0
    expect_value(first, 10.0, "a * b, after a.data was written")
    expect_value(a * b, 15.0, "a * b, made after a.data was written")
    first.data = 4.0
    expect_value(first * b, 20.0, "h * b, with h.data written before")


def test_a_value_as_exponent_is_an_error():
    """Its derivative would be another formula."""
    with expect_raises(ValueError, what="Value(2.0) ** Value(3.0)"):
        Value(2.0) ** Value(3.0)


def test_a_logarithm_of_what_is_not_positive_is_an_error():
    """Of 0 as well."""
    for number in (0.0, -1.0, 0, -1e-300):
        with expect_raises(ValueError, what=f"Value({number}).log()"):
            Value(number).log()


def test_a_division_by_zero_is_an_error():
    """Whoever is the 0."""
    divisions = {
        "Value(1.0) / Value(0.0)": lambda: Value(1.0) / Value(0.0),
        "Value(1.0) / 0": lambda: Value(1.0) / 0,
        "Value(0.0) / 0.0": lambda: Value(0.0) / 0.0,
        "2 / Value(0.0)": lambda: 2 / Value(0.0),
        "Value(0.0) ** -1": lambda: Value(0.0) ** -1,
        "Value(0.0) ** -0.5": lambda: Value(0.0) ** -0.5,
    }
    for what, call in divisions.items():
        with expect_raises(ZeroDivisionError, what=what):
            call()


def test_a_root_of_a_negative_number_is_an_error():
    """Python gives a complex number."""
    for exponent in (0.5, -1.5, 1 / 3):
        with expect_raises(ValueError, what=f"Value(-2.0) ** {exponent}"):
            Value(-2.0) ** exponent
