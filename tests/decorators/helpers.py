"""Functions that record their calls, and checks of what a decorated one does with them."""

from math import isclose

from dojo.testing import Wrong, expect, expect_equal
from dojo.testing.describe import describe
from katas.decorators import cached_method, lru_cache, retry

TOO_MANY, MOST_CALLS = "a call too many", 40
KINDS = ["lru_cache", "cached_method"]
LEVELS = "retry(3) and lru_cache(2) return a decorator, a decorator returns a wrapper, and a wrapper returns results"


class Failure(Exception):
    """Raised by the functions under test."""


def decorated(decorator, function, what):
    """What `decorator` makes of `function`, if both are functions."""
    expect(callable(decorator), f"{what} should be a decorator, but is {describe(decorator)}", hint=LEVELS)
    wrapper = decorator(function)
    sentence = f"a function decorated by {what} should be a function, but is {describe(wrapper)}"
    expect(callable(wrapper), sentence, hint=LEVELS)
    return wrapper


def retried(function, times, *exceptions, **options):
    return decorated(retry(times, *exceptions, **options), function, f"retry({times})")


def cached(function, *size):
    wrapper = decorated(lru_cache(*size), function, f"lru_cache({', '.join(map(str, size))})")
    for name in ("cache_info", "cache_clear"):
        hint = "set attributes on the wrapper that you return, not on the function"
        expect(
            callable(getattr(wrapper, name, None)), f"a cached function should have {name}(), but has none", hint=hint
        )
    return wrapper


def method(function):
    """cached_method(function), if it can stand in a class."""
    made = cached_method(function)
    sentence = f"cached_method of a method should be a function, but is {describe(made)}"
    expect(
        callable(made) or hasattr(made, "__get__"), sentence, hint="cached_method has no arguments: it is the decorator"
    )
    return made


def keeping(kind, function):
    """`function` with its results kept, by lru_cache or by a cached method of one instance."""
    if kind == "lru_cache":
        return cached(function, 8)
    made = method(lambda self, /, *args, **kwargs: function(*args, **kwargs))
    return type("Holder", (), {"m": made})().m


def planned(*outcomes):
    """(function, calls): call number i raises or returns outcomes[i]. Later calls return TOO_MANY."""
    calls = []

    def function(*args, **kwargs):
        calls.append((args, kwargs))
        outcome = outcomes[len(calls) - 1] if len(calls) <= len(outcomes) else TOO_MANY
        if len(calls) <= MOST_CALLS and isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return function, calls


def failures(count):
    return [Failure(f"number {number}") for number in range(1, count + 1)]


def ending(call):
    """(result, None) or (None, exception) of call()."""
    try:
        return call(), None
    except NotImplementedError:
        raise
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return None, error


def expect_result(call, expected, what, hint=""):
    """call() returns `expected` and raises nothing."""
    result, error = ending(call)
    if error is not None:
        raise Wrong(f"{what} should return {expected!r}, but raised {describe(error)}", hint=hint) from error
    expect_equal(result, expected, what=what, hint=hint)
    same = type(result) is type(expected)
    expect(same, f"{what} should return {expected!r}, but returned {result!r}", hint=hint)


def expect_raised(call, expected, what, hint=""):
    """call() raises this very exception."""
    result, error = ending(call)
    expect(error is not None, f"{what} should raise {expected!r}, but returned {describe(result)}", hint=hint)
    expect(error is expected, f"{what} should raise {expected!r} itself, but raised {describe(error)}", hint=hint)


def expect_count(calls, expected, what, hint=""):
    """The function has been called so often."""
    sentence = f"the number of calls of the function by {what} should be {expected}, but is {len(calls)}"
    expect(len(calls) == expected, sentence, hint=hint)


def expect_waits(waits, expected, what, hint=""):
    """Seconds, in order. Waits of 0 may be there or not."""
    numbers = all(isinstance(wait, int | float) for wait in waits)
    waits = [wait for wait in waits if wait != 0]
    near = numbers and len(waits) == len(expected) and all(map(isclose, waits, expected))
    expect(near, f"{what} should wait {expected} seconds, but waited {waits}", hint=hint)


def recorded(result=None):
    """(function, calls): a function of anything, which returns `result`, or the text of its arguments."""
    calls = []

    def function(*args, **kwargs):
        calls.append((args, kwargs))
        return described(args, kwargs) if result is None else result

    return function, calls


def described(args, kwargs):
    return f"{args} {sorted(kwargs.items())}"


def runs(function, calls, keys, *before):
    """For each key of a sequence whether function(*before, key) ran the function, as "AB.": a dot is a hit."""
    seen = ""
    for key in keys:
        count = len(calls)
        function(*before, key)
        seen += key if len(calls) > count else "."
    return seen


def expect_runs(function, calls, keys, expected, what, hint=""):
    """In a sequence of calls just these run the function; dots are hits."""
    actual = runs(function, calls, keys)
    expect(
        actual == expected,
        f"of the calls {keys}, {what}, {expected} should run, but {actual} ran (. is a hit)",
        hint=hint,
    )


def expect_info(function, hits, misses, maxsize, currsize, what, hint=""):
    """What cache_info() says, as a tuple of four."""
    info = function.cache_info()
    names = ("hits", "misses", "maxsize", "currsize")
    fields = all(hasattr(info, name) for name in names)
    expect(fields, f"cache_info() should be a CacheInfo, but is {describe(info)}", hint="return CacheInfo(...)")
    for name, right in zip(names, (hits, misses, maxsize, currsize), strict=True):
        expect_equal(getattr(info, name), right, what=f"cache_info().{name} after {what}", hint=hint)
