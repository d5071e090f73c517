"""Stage 2. What tells calls apart, for both caches; None and exceptions; wrong arguments."""

from dataclasses import dataclass

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.decorators import lru_cache, retry

from .helpers import (
    KINDS,
    TOO_MANY,
    Failure,
    described,
    expect_count,
    expect_raised,
    expect_result,
    keeping,
    planned,
    recorded,
)

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
