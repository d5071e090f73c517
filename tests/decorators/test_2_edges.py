"""Stage 2. Arguments, None and exceptions, the order of eviction, odd instances, wrong sizes."""

from dataclasses import dataclass

import pytest

from dojo.testing import expect, expect_equal, expect_raises
from katas.decorators import lru_cache, retry

from .helpers import (
    KINDS,
    TOO_MANY,
    Failure,
    cached,
    described,
    ending,
    expect_count,
    expect_info,
    expect_raised,
    expect_result,
    expect_runs,
    expect_waits,
    failures,
    keeping,
    method,
    planned,
    recorded,
    retried,
    runs,
)

SECONDS = 2.0**-10
KEY = "the key holds all positional arguments in order, and every keyword with its value: no text, hash or mixture of both"
CALLS = {  # pairs that differ
    "k=1 and k=2": (((), {"k": 1}), ((), {"k": 2})),
    "a=1 and b=1": (((), {"a": 1}), ((), {"b": 1})),
    "a=1, b=2 and a=2, b=1": (((), {"a": 1, "b": 2}), ((), {"a": 2, "b": 1})),
    "1, k=2 and 1": (((1,), {"k": 2}), ((1,), {})),
    "1, k=2 and 1, ('k', 2)": (((1,), {"k": 2}), ((1, ("k", 2)), {})),
    "1, k=2 and 1, 'k', 2": (((1,), {"k": 2}), ((1, "k", 2), {})),
    "k=2 and (('k', 2),)": (((), {"k": 2}), (((("k", 2),),), {})),
    "1, 2 and (1, 2)": (((1, 2), {}), (((1, 2),), {})),
    "1 and (1,)": (((1,), {}), (((1,),), {})),
    "1, 2 and 2, 1": (((1, 2), {}), ((2, 1), {})),
    "1, 1 and 1": (((1, 1), {}), ((1,), {})),
    "1, 2 and 1, 3": (((1, 2), {}), ((1, 3), {})),
    "nothing and None": (((), {}), ((None,), {})),
    "nothing and ()": (((), {}), (((),), {})),
    "1 and '1'": (((1,), {}), (("1",), {})),
    "'a', 'b' and 'ab'": ((("a", "b"), {}), (("ab",), {})),
    "-1 and -2, whose hashes are equal": (((-1,), {}), ((-2,), {})),
}


@dataclass(frozen=True)
class Twin:
    """All Twins look the same and have the same hash; only == tells them apart."""

    number: int

    def __repr__(self):
        return "Twin()"

    def __hash__(self):
        return 0


@pytest.mark.parametrize(
    ("error", "exceptions", "again"),
    [
        (ValueError("no"), (ValueError,), True),
        (KeyError("no"), (ValueError,), False),
        (KeyError("no"), (ValueError, KeyError), True),
        (ValueError("no"), (ValueError, KeyError), True),
        (KeyError("no"), (LookupError,), True),
        (LookupError("no"), (KeyError,), False),
        (OSError("no"), (), False),
    ],
    ids=["listed", "another", "listed second", "listed first", "subclass", "base class", "none is listed"],
)
def test_only_listed_exceptions_are_tried_again(error, exceptions, again):
    """A subclass is listed with its class, and not the other way round. Others are no reason to call again, nor to go on."""
    function, calls = planned(error, 5)
    function = retried(function, 3, exceptions, sleep=lambda _: None)
    listed = ", ".join(kind.__name__ for kind in exceptions)
    what = f"retry(3, ({listed})) after {error!r}"
    if again:
        expect_result(function, 5, what, "`except exceptions` catches subclasses, and each class of the tuple")
    else:
        expect_raised(function, error, what, "catch `exceptions` alone; what is not caught passes on by itself")
        expect_count(calls, 1, what)


@pytest.mark.parametrize("result", [None, 0, False, "", []], ids=repr)
def test_any_result_is_a_success(result):
    """Also one that is false."""
    function, calls = planned(result)
    expect_result(retried(function, 3), result, f"a function that returns {result!r}", "only exceptions are failures")
    expect_count(calls, 1, f"a result of {result!r}")


def test_every_call_begins_anew():
    """Tries and waits belong to one call, not to the decorated function."""
    waits = []
    function, calls = planned(*failures(2), 1, *failures(2), 2, *failures(2), 3)
    function = retried(function, 3, delay=SECONDS, sleep=waits.append)
    for number in (1, 2, 3):
        hint = "count the tries in a local variable of the wrapper"
        expect_result(function, number, f"call {number}, with two failures and a success,", hint)
    hint = "keep the next wait in a local variable of the wrapper, and begin with `delay`"
    expect_waits(waits, [SECONDS, 2 * SECONDS] * 3, "three calls, each with two failures,", hint)


def test_after_a_call_that_failed_the_next_begins_anew():
    """With all its tries."""
    waits, errors = [], failures(2)
    function, calls = planned(*errors, failures(1)[0], 8)
    function = retried(function, 2, delay=SECONDS, sleep=waits.append)
    expect_raised(function, errors[-1], "a call with failures only")
    expect_result(function, 8, "the next call, with a failure and a success,", "count the tries inside the wrapper")
    expect_waits(waits, [SECONDS] * 2, "both calls", "begin with `delay` in every call")


@pytest.mark.parametrize(("backoff", "right"), [(0.0, 1), (0.5, 3), (1.0, 3)])
def test_a_backoff_may_be_small(backoff, right):
    """0 leaves one wait, 1 keeps it as it is."""
    waits = []
    retried(planned(*failures(3), 0)[0], 4, delay=SECONDS, backoff=backoff, sleep=waits.append)()
    expect_waits(waits, [SECONDS * backoff**n for n in range(right)], f"retry(4, delay={SECONDS}, backoff={backoff})")


def test_the_defaults_of_retry():
    """No wait, a backoff of 2, every Exception."""
    waits = []
    retried(planned(*failures(2), 0)[0], 3, sleep=waits.append)()
    expect_waits(waits, [], "retry(3), without a delay,")
    retried(planned(OSError(), KeyError(), 0)[0], 3, delay=SECONDS, sleep=waits.append)()
    expect_waits(waits, [SECONDS, 2 * SECONDS], f"retry(3, delay={SECONDS})", "backoff is 2 by default")


@pytest.mark.parametrize("decorate", [lambda f: retried(f, 3), lambda f: cached(f, 4)], ids=["retry", "lru_cache"])
def test_keywords_may_have_any_name(decorate):
    """Also those of the decorators and of what is inside them. They are the function's."""
    names = (
        "times",
        "exceptions",
        "delay",
        "backoff",
        "sleep",
        "wait",
        "attempt",
        "function",
        "func",
        "fn",
        "maxsize",
        "key",
    )
    keywords = {name: number for number, name in enumerate((*names, "cache", "args", "kwargs"))}
    function, calls = recorded()
    hint = "def wrapper(*args, **kwargs), without parameters of its own; bind other values by a closure"
    expect_result(
        lambda: decorate(function)(**keywords), described((), keywords), "f(times=0, exceptions=1, ...)", hint
    )


@pytest.mark.parametrize("decorate", [lambda f: retried(f, 3), lambda f: cached(f, 4)], ids=["retry", "lru_cache"])
def test_a_method_can_be_decorated(decorate):
    """`self` is one more argument."""

    class Holder:
        def __init__(self, number):
            self.number = number

        @decorate
        def plus(self, other):
            return self.number + other

    one, two = Holder(1), Holder(2)
    hint = "return a function; a class as a wrapper needs __get__"
    for holder in (one, two, one):
        expect_result(lambda holder=holder: holder.plus(5), holder.number + 5, f"plus(5) of {holder.number}", hint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_calls_that_differ_share_no_entry(kind, name):
    """In either order."""
    for calls in (CALLS[name], CALLS[name][::-1]):
        function = keeping(kind, recorded()[0])
        right = [described(*call) for call in calls]
        actual = [function(*args, **kwargs) for args, kwargs in calls]
        expect_equal(actual, right, what=f"{kind}: the results of the calls with {name}", hint=KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_only_equality_tells_arguments_apart(kind):
    """Neither text nor hash: objects that differ may share both. And equal ones may be different objects."""
    run = []
    function = keeping(kind, lambda twin, **kwargs: run.append(0) or twin.number)
    actual = [function(Twin(number)) for number in (1, 2, 1, 2)]
    hint = "let the dictionary compare the arguments themselves: no str, repr, hash or id"
    expect_equal(actual, [1, 2, 1, 2], what=f"{kind}: the results for objects that look alike", hint=hint)
    expect_count(run, 2, f"{kind}: two calls each with two equal objects", hint)
    for _ in range(2):
        function(Twin(1), k=("a", Twin(1)))
    expect_count(run, 3, f"{kind}: two calls more, with equal keywords,", "keywords that are equal share an entry")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("result", [None, 0, False, ""], ids=repr)
def test_every_result_is_kept(kind, result):
    """None is an answer, too."""
    run = []
    function = keeping(kind, lambda x: run.append(x) or result)
    for what in ("a first call", "a second call"):
        expect_result(lambda: function(1), result, f"{kind}: {what} of a function that returns {result!r}")
    hint = "ask whether the key is in the dictionary, and not what get() gives"
    expect_count(run, 1, f"{kind}: two calls of a function that returns {result!r}", hint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [Failure("no"), KeyError("no"), TypeError("no"), AttributeError("no")], ids=repr)
def test_exceptions_are_passed_on_and_not_kept(kind, error):
    """Whatever their class: a KeyError or a TypeError is not the cache's own."""
    function, calls = planned(error, 3, TOO_MANY)
    function = keeping(kind, function)
    hint = "no `except` around the function; a lookup that can fail stands in a try of its own"
    expect_raised(lambda: function(1), error, f"{kind}: a call that raises", hint)
    expect_count(calls, 1, f"{kind}: a call that raises {error!r}", hint)
    for what in ("the next call", "the call after it"):
        expect_result(lambda: function(1), 3, f"{kind}: {what}, with the same argument,", "keep results only")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("args", "kwargs"), [(([1],), {}), (({},), {}), ((1,), {"k": [1]})], ids=["list", "dict", "keyword"]
)
def test_arguments_have_to_be_hashable(kind, args, kwargs):
    """An argument that can change would find an old answer, or none."""
    run = []
    function = keeping(kind, lambda *args, **kwargs: run.append(0))
    hint = "use the arguments themselves as the key, so that hash() refuses them"
    with expect_raises(TypeError, what=f"{kind}: a call with an argument that is not hashable", hint=hint):
        function(*args, **kwargs)
    expect_count(run, 0, f"{kind}: a call that raises TypeError", "look into the dictionary first")


@pytest.mark.parametrize(
    ("size", "keys", "right"),
    [
        (2, "AAABCA", "A..BCA"),
        (3, "ABCABDABCD", "ABC..D..CD"),
        (3, "ABCBADCAB", "ABC..DC.B"),
        (3, "ABCCCADBC", "ABC...DBC"),
    ],
)
def test_every_use_moves_an_entry_to_the_end(size, keys, right):
    """How often it was used does not matter, nor when it came in."""
    function, calls = recorded()
    hint = "when it is full, the entry whose last use is longest ago goes"
    expect_runs(cached(function, size), calls, keys, right, f"with a size of {size}", hint)


def test_a_call_that_raises_removes_no_entry():
    """It brings no new one, and is a miss all the same."""
    function, calls = planned("a", "b", *failures(2), TOO_MANY)
    function = cached(function, 2)
    function("A")
    function("B")
    for key in "CD":
        _, error = ending(lambda key=key: function(key))
        expect(error is not None, "a call whose function raises should raise")
    hint = "make room after the function has returned, when there is a result to be kept"
    expect_equal(
        runs(function, calls, "AB"), "..", what="after A, B and two calls that raised, A and B (. is a hit)", hint=hint
    )
    expect_info(function, 2, 4, 2, 2, "A, B, two calls that raised, A, B", "a call that is no hit is a miss")


def test_no_limit_with_none():
    """Far more than 128 entries stay."""
    function, calls = recorded()
    function = cached(function, None)
    for number in (*range(300), *range(300)):
        function(number)
    expect_count(calls, 300, "lru_cache(None): 300 arguments, each twice,", "None means that nothing is removed")
    expect_info(function, 300, 300, None, 300, "300 arguments, each twice")


def test_nothing_is_kept_with_a_size_of_0():
    """Calls are counted all the same."""
    function, calls = recorded()
    function = cached(function, 0)
    expect_runs(function, calls, "AABA", "AABA", "with a size of 0", "0 is not None: `if not maxsize` confuses them")
    expect_info(function, 0, 4, 0, 0, "four calls with a size of 0")


def test_the_default_size_is_128():
    """The first of 128 is there, the first of 129 is not."""
    function, calls = recorded()
    function = cached(function)
    for number in (*range(128), 0):
        function(number)
    expect_count(calls, 128, "lru_cache(): 128 arguments and the first again")
    function(128)
    function(1)
    expect_count(calls, 130, "lru_cache(): a 129th argument, and the second again,", "the default maxsize is 128")
    expect_info(function, 1, 130, 128, 128, "131 calls")


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


@dataclass(frozen=True)
class Frozen:
    """Refuses every assignment."""

    number: int


class Slotted:
    """Has a __dict__, and no place for weak references."""

    __slots__ = ("__dict__", "number")

    def __init__(self, number):
        self.number = number


HINTS = {
    Same: "self is no part of a key: an instance need not be hashable",
    SameHash: "equal instances are not the same one: put the results into the instance's own __dict__",
    Frozen: "vars(self)[...] = ... is no assignment to an attribute",
    Slotted: "vars(self), and no weak references",
}


@pytest.mark.parametrize("kind", HINTS, ids=lambda kind: kind.__name__)
def test_instances_need_only_a_dict(kind):
    """Not hashable, all equal, frozen, with slots."""
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


@pytest.mark.parametrize("name", ["times=0", "times=-1", "delay=-0.5", "backoff=-2.0"])
def test_wrong_arguments_of_retry_raise_value_error(name):
    """When it decorates: a mistake shows at once, and not at the first call."""
    arguments = {"times": 3} | {key: float(value) for key, value in [name.split("=")]}
    arguments["times"] = int(arguments["times"])
    with expect_raises(ValueError, what=f"@retry with {name}", hint="check before you return the decorator"):
        retry(**arguments)(recorded()[0])


@pytest.mark.parametrize("size", [-1, -100])
def test_a_negative_maxsize_raises_value_error(size):
    """When it decorates."""
    with expect_raises(ValueError, what=f"@lru_cache({size})", hint="check before you return the decorator"):
        lru_cache(size)(recorded()[0])
