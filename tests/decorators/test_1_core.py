"""Stage 1. Calls and waits, hits and misses, an entry for each instance."""

import pytest

from dojo.testing import expect, expect_equal, expect_own_work, randint
from katas import decorators

from .helpers import (
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
    method,
    planned,
    recorded,
    retried,
)
from .probe import FORBIDDEN

SECONDS = 2.0**-10  # small, in case somebody really sleeps


def test_a_success_at_once_needs_one_call():
    """Nothing to repeat: the result is passed on."""
    function, calls = planned(7, 8, 9)
    expect_result(retried(function, 3), 7, "a function that returns 7", "the wrapper returns what the function returns")
    expect_count(calls, 1, "a success", "stop at the first success")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_is_called_again_until_it_succeeds(count):
    """After `count` failures the next call returns."""
    function, calls = planned(*failures(count), 7)
    hint = "catch the exception, and call again in the next round of the loop"
    expect_result(retried(function, 5, sleep=lambda _: None), 7, f"retry(5) after {count} failures and a success", hint)
    expect_count(calls, count + 1, f"retry(5) with {count} failures and a success", "stop at the first success")


@pytest.mark.parametrize("times", [1, 2, 4])
def test_times_counts_all_calls(times):
    """times=1 does not call again at all."""
    function, calls = planned(*failures(9))
    function = retried(function, times, sleep=lambda _: None)
    ending(function)
    hint = "`times` is the number of calls in all, not of those that follow the first"
    expect_count(calls, times, f"retry({times}) of a function that always fails", hint)


@pytest.mark.parametrize("times", [1, 3])
def test_the_last_exception_is_passed_on(times):
    """Whoever calls it wants to know what went wrong, and to catch it by its own class."""
    errors = failures(times)
    hint = "let the last call's exception through: no other class, no copy, and no None in its place"
    function = retried(planned(*errors)[0], times, sleep=lambda _: None)
    expect_raised(function, errors[-1], f"retry({times}) after failures 1 to {times}", hint)


@pytest.mark.parametrize("times", [2, 3])
def test_every_call_gets_the_arguments(rng, times):
    """The second like the first, also if it is the last."""
    first, second = randint(rng, 0, 1000, 2).tolist()
    function, calls = planned(*failures(1), 0)
    retried(function, times, sleep=lambda _: None)(first, b=second)
    hint = "def wrapper(*args, **kwargs): return function(*args, **kwargs)"
    what = f"the arguments of both calls of f({first}, b={second})"
    expect_equal(calls, [((first,), {"b": second})] * 2, what=what, hint=hint)


@pytest.mark.parametrize(("count", "backoff"), [(0, 2.0), (1, 3.0), (3, 2.0), (3, 3.0), (4, 1.0)])
def test_waits_grow_by_the_backoff(count, backoff):
    """delay, delay * backoff, delay * backoff^2: one wait between two calls."""
    waits = []
    function, _ = planned(*failures(count), 0)
    retried(function, 6, delay=SECONDS, backoff=backoff, sleep=waits.append)()
    right = [SECONDS * backoff**number for number in range(count)]
    what = f"retry(6, delay={SECONDS}, backoff={backoff}) with {count} failures and a success"
    expect_waits(waits, right, what, "the first wait is `delay`; every further one is `backoff` times the one before")


@pytest.mark.parametrize("times", [1, 3])
def test_there_is_no_wait_after_the_last_call(times):
    """Nothing follows that could go better."""
    waits = []
    function = retried(planned(*failures(9))[0], times, delay=SECONDS, sleep=waits.append)
    ending(function)
    hint = "wait only between two calls: when no call is left, raise at once"
    expect_waits(waits, [SECONDS, 2 * SECONDS][: times - 1], f"retry({times}) of a function that always fails", hint)


def test_a_repeated_call_is_answered_from_the_cache(rng):
    """Without running the function, and with the same result."""
    number = int(randint(rng, 0, 1000, 1))
    function, calls = recorded()
    function = cached(function, 4)
    for what in ("a first call", "a second call with the same argument"):
        expect_result(
            lambda: function(number), described((number,), {}), what, "a hit returns the result that was kept"
        )
    expect_count(calls, 1, "two calls with the same argument", "keep results in a dictionary, by the arguments")


def test_calls_with_other_arguments_run_the_function():
    """Each has a result of its own."""
    function, calls = recorded()
    function = cached(function, 8)
    for args in ((1,), (2,), (1, 2), (2, 1), ()):
        expect_result(
            lambda args=args: function(*args), described(args, {}), f"f{args}", "the key is made of all arguments"
        )
    expect_count(calls, 5, "five calls with different arguments")


def test_cache_info_counts_calls():
    """Before the first call, after it, and after a hit."""
    function = cached(recorded()[0], 3)
    expect_info(function, 0, 0, 3, 0, "no call")
    function("A")
    expect_info(function, 0, 1, 3, 1, "one call", "a call that runs the function is a miss")
    function("A")
    function("B")
    function("A")
    expect_info(function, 2, 2, 3, 2, "the calls A, A, B, A", "a call is a hit or a miss, never both")


def test_the_entry_used_least_recently_makes_room():
    """Not the oldest one: a hit counts as a use."""
    function, calls = recorded()
    hint = "a hit moves its entry to the end; when there are too many, the first goes"
    expect_runs(cached(function, 2), calls, "ABACAB", "AB.C.B", "with a size of 2", hint)


@pytest.mark.parametrize(
    ("size", "keys", "right"),
    [(1, "AABA", "A.BA"), (2, "ABAB", "AB.."), (2, "ABCA", "ABCA"), (2, "ABCBC", "ABC.."), (3, "ABCABC", "ABC...")],
)
def test_there_is_room_for_maxsize_entries(size, keys, right):
    """No more, no less; a new entry costs one old one."""
    function, calls = recorded()
    hint = "remove one entry, and only when there are more than maxsize"
    function = cached(function, size)
    expect_runs(function, calls, keys, right, f"with a size of {size}", hint)
    expect_info(function, right.count("."), len(calls), size, min(size, len(set(keys))), f"the calls {keys}", hint)


def test_cache_clear_forgets_everything():
    """Entries and counts, so that it is as new."""
    function, calls = recorded()
    function = cached(function, 4)
    for key in "AABA":
        function(key)
    function.cache_clear()
    expect_info(function, 0, 0, 4, 0, "cache_clear()", "nonlocal, for the counts that cache_clear sets")
    expect_runs(function, calls, "AABA", "A.B.", "after cache_clear()", "clear the dictionary that the wrapper uses")


class Scaled:
    """A class with a cached method, which records its calls."""

    def __init__(self, factor):
        self.factor, self.calls = factor, []

    def times(self, number, plus=0):
        self.calls.append(number)
        return self.factor * number + plus


def scaled():
    """The class, anew, with its method cached."""
    return type("Scaled", (Scaled,), {"times": method(Scaled.times)})


def test_a_method_runs_once_for_its_arguments(rng):
    """The second call of the same instance is answered from its results."""
    factor, number = randint(rng, 2, 1000, 2).tolist()
    instance = scaled()(factor)
    for what in ("a first call of the method", "a second call"):
        expect_result(
            lambda: instance.times(number), factor * number, what, "self.times(number) is method(self, number)"
        )
    expect_count(instance.calls, 1, "two calls of a cached method with the same argument")


def test_arguments_of_a_method_tell_calls_apart():
    """Positional and keyword arguments."""
    instance = scaled()(3)
    results = [instance.times(1), instance.times(2), instance.times(1, 5), instance.times(1, plus=7)]
    hint = "the key is made of all arguments but self"
    expect_equal(results, [3, 6, 8, 10], what="times(1), times(2), times(1, 5) and times(1, plus=7), of 3", hint=hint)


def test_each_instance_has_its_own_results():
    """The same arguments, another self."""
    kind = scaled()
    first, second = kind(2), kind(5)
    results = [first.times(1), second.times(1), first.times(1), second.times(1)]
    expect_equal(
        results, [2, 5, 2, 5], what="times(1) of 2, of 5, of 2 and of 5", hint="results belong to the instance"
    )
    expect(
        len(first.calls) == len(second.calls) == 1,
        "each instance should run its method once",
        hint="and they stay there",
    )


def test_the_caches_are_your_own():
    """functools has the answer; wraps is allowed."""
    cached(recorded()[0], 2)
    expect_own_work(decorators, FORBIDDEN)
