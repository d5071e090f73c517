"""Recording the calls of the learner's functions: how each ended, and what was given and came back."""

from contextlib import suppress
from types import ModuleType

from dojo.engine.calls import CallRecorder, functions_of

KATA = '''
import dataclasses
import functools


def double(x, *more, by=2, **options):
    """Modifies its argument."""
    x.append(9)
    return [x[0] * by]


def careful(x):
    try:
        raise KeyError(x)
    except KeyError:
        return helped(x)


def helped(x):
    if x < 0:
        raise ValueError("x is negative")
    return lambda: x


def outer(x):
    return helped(x)


def count(n):
    for number in range(n):
        try:
            raise KeyError
        except KeyError:
            yield number


def broken(n):
    yield n
    raise ValueError("after one")


def nothing():
    return


@dataclasses.dataclass
class Pair:
    first: int

    def __repr__(self):
        return "a pair"


class Layer:
    def __init__(self, size):
        self.size = size

    def __iter__(self):
        yield self.size

    @staticmethod
    def static(x):
        return x

    @functools.cache
    def cached(self):
        return 7
'''


def record(use, see=lambda value: value):
    """(name, arguments, depth, how it ended, value or error) of each call that `use` makes, in the order of their ends."""
    module = ModuleType("katas.tiny")
    module.__file__ = "tiny.py"
    exec(compile(KATA, "tiny.py", "exec"), vars(module))
    calls = []
    with CallRecorder(functions_of(module), calls.append, see), suppress(ValueError):
        use(module)
    return [(c.name, c.arguments, c.depth, c.ended, c.error if c.ended == "raised" else c.value) for c in calls]


def test_arguments_are_those_at_the_call():
    """Defaults and stars by name, and nothing that was modified later."""
    (call,) = record(lambda kata: kata.double([3], 4, 5, key=1), see=str)
    assert call == ("double", {"x": "[3]", "by": "2", "more": "(4, 5)", "options": "{'key': 1}"}, 0, "returned", "[6]")


def test_an_error_that_is_handled_is_none():
    """Only what leaves the function counts."""
    helped, careful = record(lambda kata: kata.careful(1))
    assert helped[:4] == ("helped", {"x": 1}, 1, "returned")
    assert careful[:4] == ("careful", {"x": 1}, 0, "returned")


def test_an_error_is_told_of_each_function_that_it_leaves():
    """The inner one ends first."""
    calls = record(lambda kata: kata.outer(-1))
    error = "ValueError: x is negative"
    assert calls == [("helped", {"x": -1}, 1, "raised", error), ("outer", {"x": -1}, 0, "raised", error)]


def test_what_only_looks_at_a_value_is_no_call():
    """A failing check calls these methods for its sentence, and @dataclass writes some of them."""
    calls = record(lambda kata: [repr(kata.Pair(1)), kata.Pair(1) == kata.Pair(2), kata.nothing()])
    assert [name for name, *_ in calls] == ["nothing"]


def test_none_is_a_value():
    """It is not an error."""
    assert record(lambda kata: kata.nothing()) == [("nothing", {}, 0, "returned", None)]


def test_a_generator_is_one_call():
    """Whether it was read to its end, or waits; what the test calls meanwhile is not inside of it."""

    def use(kata):
        whole = list(kata.count(3))
        waiting = kata.count(5)
        next(waiting)
        kata.nothing()
        assert next(waiting) == 1
        assert whole == [0, 1, 2]
        use.keep = waiting

    whole, nothing, waiting = record(use)
    assert whole == ("count", {"n": 3}, 0, "returned", 2)
    assert nothing == ("nothing", {}, 0, "returned", None)
    assert waiting == ("count", {"n": 5}, 0, "", 1)


def test_a_generator_that_raises_or_is_left():
    """Being left is no error."""
    assert record(lambda kata: list(kata.broken(4))) == [("broken", {"n": 4}, 0, "raised", "ValueError: after one")]

    def leave(kata):
        for _ in kata.count(3):
            break

    assert record(leave) == [("count", {"n": 3}, 0, "", 0)]


def test_methods_and_constructors():
    """A constructor's value is what it built."""

    def use(kata):
        layer = kata.Layer(2)
        assert list(layer) == [2]
        assert layer.static(5) == 5
        assert layer.cached() == 7

    calls = record(use, see=lambda value: getattr(value, "size", value))
    assert [(name, ended, value) for name, _, _, ended, value in calls] == [
        ("Layer.__init__", "returned", 2),
        ("Layer.__iter__", "returned", 2),
        ("Layer.static", "returned", 5),
        ("Layer.cached", "returned", 7),
    ]
