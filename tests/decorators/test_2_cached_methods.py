"""Stage 2. Instances that are unhashable, equal, frozen or slotted; methods of one name."""

import pytest

from .helpers import expect_count, expect_result, method


class Same:
    """All are equal, and none is hashable."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return True


class SameHash(Same):
    """All are equal, and have the same hash."""

    def __hash__(self):
        return 0


class Frozen:
    """Refuses every assignment."""

    def __init__(self, number):
        vars(self)["number"] = number

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set")


class Slotted:
    """Has a __dict__, and no place for weak references."""

    __slots__ = ("__dict__", "number")

    def __init__(self, number):
        self.number = number


class Answering(Same):
    """Answers for every attribute that it lacks. A place for the results that is asked for so seems to be there."""

    __hash__ = object.__hash__

    def __getattr__(self, name):
        return f"no {name}"


HINTS = {
    Same: "self is no part of a key: an instance need not be hashable",
    SameHash: "equal instances are not the same one: put the results into the instance's own __dict__",
    Frozen: "vars(self)[...] = ... is no assignment to an attribute",
    Answering: "look into vars(self), and not for an attribute: a class with __getattr__ may have an answer",
    Slotted: "vars(self), and no weak references",
}


@pytest.mark.parametrize("kind", HINTS, ids=lambda kind: kind.__name__)
def test_instances_need_only_a_dict(kind):
    """Not hashable, all equal, frozen, with slots, with an answer for every attribute."""
    run = []
    made = method(lambda self, x: run.append(0) or (self.number, x))
    slots = {"__slots__": ()} if kind is Slotted else {}
    kind = type(kind.__name__, (kind,), {"plus": made, **slots})
    one, two = kind(1), kind(2)
    for instance in (one, two, one, two):
        hint = HINTS[kind.__base__]
        expect_result(lambda i=instance: i.plus(5), (instance.number, 5), f"plus(5) of {kind.__base__.__name__}", hint)
    expect_count(
        run, 2, f"two calls each of two instances of {kind.__base__.__name__}", "keep the results, per instance"
    )


def test_methods_share_no_results():
    """Two of a class, one of a subclass, and the one that super() finds under the same name."""

    class Base:
        @method
        def one(self, x):
            return f"one {x}"

        @method
        def two(self, x):
            return f"two {x}"

    class Derived(Base):
        @method
        def one(self, x):
            return f"derived, {super().one(x)}"

    base, derived = Base(), Derived()
    hint = "entries belong to a method and its arguments, and its name is not enough"
    for _ in range(2):
        expect_result(lambda: base.one(1), "one 1", "base.one(1)", hint)
        expect_result(lambda: base.two(1), "two 1", "base.two(1), after base.one(1),", hint)
        expect_result(lambda: derived.one(1), "derived, one 1", "derived.one(1), which calls super().one(1),", hint)
        expect_result(lambda: derived.two(1), "two 1", "derived.two(1)", hint)
        expect_result(lambda: Base.one(derived, 1), "one 1", "Base.one(derived, 1)", hint)


def test_methods_of_one_qualified_name_share_no_results():
    """Two classes that one function makes have methods that are called the same."""

    def made(base, number):
        class Made(base):
            @method
            def one(self, x):
                return [number, *(super().one(x) if number else [])]

        return Made

    base = made(object, 0)
    instance = made(base, 1)()
    hint = "not even __module__ and __qualname__ are enough: a key that belongs to this one wrapper"
    for _ in range(2):
        expect_result(lambda: instance.one(5), [1, 0], "one(5), which calls super().one(5),", hint)
        expect_result(lambda: base.one(instance, 5), [0], "Base.one(instance, 5), after instance.one(5),", hint)


def test_all_results_of_a_method_are_kept():
    """There is no limit."""
    run = []
    instance = type("Holder", (), {"m": method(lambda self, x: run.append(x) or x)})()
    for x in (*range(1100), *range(1100)):
        expect_result(lambda x=x: instance.m(x), x, f"m({x})")
    expect_count(run, 1100, "m(0) ... m(1099), twice,", "results of a method are kept without a limit")


def test_a_method_can_be_called_through_its_class():
    """C.m(instance, 1) is instance.m(1)."""
    run = []
    kind = type("Holder", (), {"m": method(lambda self, x: run.append(x) or x + 1)})
    instance = kind()
    for call in (lambda: kind.m(instance, 1), lambda: instance.m(1), lambda: kind.m(instance, 1)):
        expect_result(call, 2, "C.m(instance, 1)", "a function in a class does this; a descriptor sees instance None")
    expect_count(run, 1, "C.m(instance, 1), instance.m(1), C.m(instance, 1)", "all are the same call")


def test_the_next_instance_at_an_address_is_another():
    """An id is given again as soon as its object is gone."""
    kind = type("Holder", (), {"m": method(lambda self, x: (self.number, x))})
    for number in range(20):
        instance = kind()
        instance.number = number
        hint = "id(self) is no key: let the instance hold its results"
        expect_result(lambda instance=instance: instance.m(1), (number, 1), f"m(1) of instance {number}", hint)
        del instance
