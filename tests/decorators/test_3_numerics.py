"""Stage 3. Names, several functions, recursion, Ctrl-C, long sequences."""

import inspect
import traceback

import pytest

from dojo.testing import expect, expect_equal, randint
from katas.decorators import lru_cache, retry

from .helpers import (
    KINDS,
    MOST_CALLS,
    cached,
    decorated,
    ending,
    expect_count,
    expect_info,
    expect_raised,
    expect_result,
    expect_waits,
    failures,
    keeping,
    method,
    planned,
    recorded,
    retried,
    runs,
)

SECONDS = 2.0**-10  # small, in case somebody really sleeps
DECORATORS = {"retry": lambda f: retried(f, 3), "lru_cache": lambda f: cached(f, 4), "cached_method": method}
LOOKS = ("__name__", "__qualname__", "__doc__", "__module__", "version", "__wrapped__", "signature")


def subject(self, number: int, *rest: float, scale: float = 1.5, **options: str) -> str:
    """What help() shows."""


subject.version = 3


def look(function, name):
    if name == "signature":
        return str(inspect.signature(function))
    return getattr(function, name, f"no {name}")


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("name", LOOKS)
def test_a_wrapper_looks_like_its_function(decorator, name):
    """For help(), logs, pickle, and frameworks that read signatures. Of a method it is seen through the class."""
    wrapper = DECORATORS[decorator](subject)
    if decorator == "cached_method":
        wrapper = type("Holder", (), {"m": wrapper}).m
    right = subject if name == "__wrapped__" else look(subject, name)
    hint = "@functools.wraps(function) above the wrapper copies all of this"
    expect_equal(look(wrapper, name), right, what=f"{name} of a function decorated by {decorator}", hint=hint)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_nothing_runs_when_it_is_decorated(decorator):
    """The function waits for its call."""
    function, calls = recorded()
    DECORATORS[decorator](function)
    expect_count(calls, 0, f"decorating with {decorator}", "return the wrapper, and do not call the function")


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit("stop")], ids=lambda e: type(e).__name__)
def test_interrupts_pass_at_once(error):
    """Whoever presses Ctrl-C wants it to end. They are no subclasses of Exception."""
    function, calls = planned(error, 5)
    function = retried(function, 3, sleep=lambda _: None)
    hint = "`except exceptions`, and neither `except:` nor BaseException"
    expect_raised(function, error, f"retry(3) after {error!r}", hint)
    expect_count(calls, 1, f"retry(3) after {error!r}", hint)


@pytest.mark.parametrize("times", [1, 3])
def test_the_traceback_shows_where_it_was_raised(times):
    """The line in the function, not one in the decorator alone."""

    calls = []

    def culprit():
        calls.append(0)
        if len(calls) < MOST_CALLS:
            raise failures(1)[0]

    _, error = ending(retried(culprit, times, sleep=lambda _: None))
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)] if error else []
    expect(
        "culprit" in names, f"the traceback should lead to the function, but has only {names}", hint="raise it itself"
    )


def test_retried_functions_share_nothing():
    """One decorator object may be used for several functions."""
    waits = []
    decorate = retry(3, delay=SECONDS, sleep=waits.append)
    functions = [decorated(decorate, planned(*failures(2), number)[0], "retry(3)") for number in (1, 2)]
    for number, function in enumerate(functions, 1):
        hint = "tries and waits belong to the call: keep them inside the wrapper"
        expect_result(function, number, f"function {number} of one decorator, with two failures and a success,", hint)
    expect_waits(waits, [SECONDS, 2 * SECONDS] * 2, "two functions of one decorator, with two failures each,")


@pytest.mark.parametrize("one", [True, False], ids=["one decorator", "two decorators"])
def test_cached_functions_share_nothing(one):
    """Each has its own entries, counts and cache_clear()."""
    decorate = lru_cache(4)
    first = decorated(decorate, lambda x: f"first {x}", "lru_cache(4)")
    second = decorated(decorate if one else lru_cache(4), lambda x: f"second {x}", "lru_cache(4)")
    hint = "a cache is made where a function is decorated: no default argument, no global, not one for each decorator"
    for function, name in ((first, "first"), (second, "second"), (first, "first")):
        expect_result(lambda f=function: f(1), f"{name} 1", f"{name}(1), of two cached functions,", hint)
    expect_info(first, 1, 1, 4, 1, "two calls", hint)
    expect_info(second, 0, 1, 4, 1, "one call", hint)
    first.cache_clear()
    expect_info(second, 0, 1, 4, 1, "cache_clear() of another function", hint)


def test_a_cached_function_may_be_recursive():
    """Fibonacci's numbers need one run each: the inner calls go through the cache as well."""
    hint = "the second call with the same argument finds the result of the first"

    calls = []

    def fibonacci(n):
        calls.append(n)
        expect(len(calls) <= 500, "fibonacci(100) should run 101 times, but runs 500 times and more", hint=hint)
        return n if n < 2 else function(n - 1) + function(n - 2)

    function = cached(fibonacci, None)
    expect_result(lambda: function(100), 354224848179261915075, "fibonacci(100)")
    expect_info(function, 98, 101, None, 101, "fibonacci(100)", "count every call, also those from inside")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_recursion_keeps_to_the_size(size):
    """While a function runs, its inner calls fill the cache."""
    sizes = []

    def count(n):
        sizes.append(function.cache_info().currsize)
        return 0 if n == 0 else function(n - 1) + 1

    function = cached(count, size)
    for n in (4, 9, 12, 20):
        expect_result(lambda n=n: function(n), n, f"a recursive function of {n}")
        sizes.append(function.cache_info().currsize)
    hint = "see whether there is room when the result is stored, not before the function runs"
    expect(max(sizes) <= size, f"currsize should never exceed {size}, but was {max(sizes)}", hint=hint)


def test_an_inner_call_with_the_same_arguments():
    """It stores the entry first. Then the outer call needs no further place."""
    inside = []

    def function(key):
        run.append(key)
        if key == "B" and not inside:
            inside.append(key)
            wrapper(key)
        return key

    run = []
    wrapper = cached(function, 2)
    wrapper("A")
    wrapper("B")
    hint = "remove an entry only if the one that is stored makes them too many"
    expect_equal(wrapper.cache_info().currsize, 2, what="currsize after A and B, which calls itself", hint=hint)
    expect_equal(runs(wrapper, run, "AB"), "..", what="A and B, called again (. is a hit)", hint=hint)


def test_a_cached_method_may_be_recursive():
    """self.m(n - 1) goes through the results of self."""
    run, hint = [], "the second call with the same argument finds the result of the first"

    class Holder:
        @method
        def fibonacci(self, n):
            run.append(n)
            expect(len(run) <= 300, "fibonacci(60) should run 61 times, but runs 300 times and more", hint=hint)
            return n if n < 2 else self.fibonacci(n - 1) + self.fibonacci(n - 2)

    expect_result(lambda: Holder().fibonacci(60), 1548008755920, "fibonacci(60), as a method")
    expect_count(
        run, 61, "fibonacci(60), as a method,", "the wrapper stands in the class, where the inner calls find it"
    )


def test_a_retried_function_may_call_itself():
    """Each call has all its tries, also one that begins inside another."""
    calls = []

    def function(depth):
        calls.append(depth)
        if depth:
            return wrapper(depth - 1)
        if len(calls) < MOST_CALLS:
            raise failures(1)[0]
        return None

    wrapper = retried(function, 2, sleep=lambda _: None)
    _, error = ending(lambda: wrapper(2))
    expect(error is not None, "a retried function that fails inside should raise")
    expect_equal(calls, [2, 1, 0, 0, 1, 0, 0] * 2, what="depths of the calls of f(2), twice each", hint="a local count")


@pytest.mark.parametrize("kind", KINDS)
def test_a_hit_is_the_very_object(kind):
    """No copy of it."""
    function = keeping(kind, lambda x: [x])
    hint = "return what was kept, without a copy"
    expect(
        function(1) is function(1),
        f"{kind}: a hit should return the object of the first call, but returned another",
        hint=hint,
    )


def test_decorators_can_be_stacked():
    """A cache above a retry: what succeeded in the end is kept."""
    function, calls = planned(*failures(2), 5)
    function = cached(retried(function, 3, sleep=lambda _: None), 4)
    for what in ("a first call", "a second call"):
        expect_result(lambda: function("A"), 5, f"lru_cache(4) above retry(3): {what}")
    expect_count(calls, 3, "lru_cache(4) above retry(3), called twice, with two failures,")


@pytest.mark.parametrize("size", [1, 4, 7, 16])
def test_long_sequences(rng, size):
    """A call is a hit exactly if fewer than `size` other arguments came after its last use."""
    keys = randint(rng, 0, 20, 800).tolist()
    function, calls = recorded()
    function, last = cached(function, size), {}
    for now, key in enumerate(keys):
        count = len(calls)
        function(key)
        hit = key in last and len(set(keys[last[key] + 1 : now])) < size
        last[key] = now
        others = "fewer" if hit else "not fewer"
        sentence = f"call {now} of a sequence should be a {'hit' if hit else 'miss'}, but is the other: "
        sentence += f"{others} than {size} other arguments were used since its last use"
        expect(
            (len(calls) == count) == hit, sentence, hint="a hit moves its entry to the end, and the first entry goes"
        )
    expect_info(function, len(keys) - len(calls), len(calls), size, size, "the whole sequence")


@pytest.mark.parametrize("backoff", [1.1, 1.5])
def test_many_waits(backoff, monkeypatch):
    """Within rounding, however they are computed, and without an upper limit."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the last ones are minutes
    waits = []
    retried(planned(*failures(30), 0)[0], 31, delay=SECONDS, backoff=backoff, sleep=waits.append)()
    right = [SECONDS * backoff**number for number in range(30)]
    expect_waits(waits, right, f"retry(31, delay={SECONDS}, backoff={backoff}) with 30 failures")
