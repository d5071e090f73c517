"""Decorators.

A decorator is a function of a function: `@d` above `def f` means f = d(f). One with arguments is a function that returns
a decorator, so `@retry(3)` has three levels: what runs once for the arguments, what runs once for each decorated
function, and what runs at each call. Most bugs are state on the wrong level: a delay or a counter that outlives the call,
a dictionary that all decorated functions share.

A wrapper takes the place of the function, so it should look like it. All three decorators below copy what
functools.wraps copies: __name__, __qualname__, __doc__, __module__, the function's own attributes, and __wrapped__, by
which inspect.signature finds the parameters. They run nothing of the function while they decorate it, pass on its
arguments as they are, whatever the keywords are called, and can decorate a method: `self` is one more argument. (Only
cached_method may keep the keyword `self` for itself.) Sync functions are meant, in one thread.

The caches tell calls apart by their positional and keyword arguments. Two calls with equal arguments, given in the same
way, share an entry (equal in the sense of ==, not the same object); two calls that differ never do: f(1, k=2) is not
f(1, ("k", 2)). Free are calls that mean the same and are written differently: f(1) and f(x=1), f(a=1, b=2) and
f(b=2, a=1), a default that is given or left out; and equal arguments of different types, such as 1, 1.0 and True.
Arguments have to be hashable: with others a call raises TypeError and does not run the function. Every result is kept,
also None, and a hit returns the very object. An exception is passed on as it is, and nothing is kept of it.

Rules: functools.lru_cache and functools.cache are forbidden; the rest of functools is not.

Stage 1: calls and waits, hits and misses, an entry for each instance.  Stage 2: arguments, None and exceptions, the order
of eviction, odd instances, wrong sizes.  Stage 3: names, several functions, recursion, Ctrl-C, long sequences.
Stage 4: the work of a call; what is kept alive.
"""

import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple


class CacheInfo(NamedTuple):
    """What a cache did so far, in the order of functools: a call is a hit or a miss."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


def retry(
    times: int,
    exceptions: tuple[type[Exception], ...] = (Exception,),
    *,
    delay: float = 0.0,
    backoff: float = 2.0,
    sleep: Callable[[float], object] = time.sleep,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the function is called again when it raises, `times` calls in all, until one returns.

    What it returns first is returned, whatever it is. Only the `exceptions` and their subclasses lead to another call;
    every other one is passed on at once, so KeyboardInterrupt ends it. When the last call raises, its exception is
    passed on: the object itself, with the traceback that shows where the function raised it.

    Between two calls, and only there, `sleep` is called with the seconds to wait: delay, delay * backoff,
    delay * backoff^2, ... Each call of the decorated function begins with all its `times`, and with `delay`. With a delay
    of 0 sleep(0) or no sleep, as you like. `times` may be thousands, and a delay of 0 then stays 0.

    Raises ValueError if times < 1, delay < 0 or backoff < 0, when it decorates and not when the function is called.

    >>> @retry(3, (TimeoutError,), delay=0.5)  # at most three calls; waits 0.5 and 1.0 seconds
    ... def download(url): ...
    """
    raise NotImplementedError("decorators.retry: write me")


def lru_cache(maxsize: int | None = 128) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: results are kept for up to `maxsize` calls that differ; the entry used least recently makes room.

    A hit uses an entry as well. An entry goes only when a new one needs its place, so a call that raises removes none, and
    currsize never exceeds maxsize. With maxsize None nothing is ever removed, with 0 nothing is kept.

    The decorated function has two attributes: cache_info() returns a CacheInfo, and cache_clear() removes all entries and
    sets hits and misses to 0. A call whose result is not there is a miss, also if it raises, and also with maxsize 0.

    Each decorated function has a cache of its own. It may be recursive: what its inner calls keep counts like any other.
    A call takes the same work however many entries there are. What has been removed is not kept alive.

    Raises ValueError if maxsize is negative, when it decorates and not when the function is called.
    """
    raise NotImplementedError("decorators.lru_cache: write me")


def cached_method(method: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for methods, without arguments: results are kept for each instance and its arguments, without a limit.

    The instances need a __dict__ and nothing more. They may be unhashable, equal to each other, frozen (a class that
    refuses every assignment), of a subclass, with a __getattr__ that answers for any name, or, with __slots__ that list
    "__dict__", without weak references. Nothing is kept alive, and nothing refers in a circle: with the last reference to
    it, an instance is freed at once, with its results (unless one of these refers to it).

    No other method has part in the entries, also not the one that super() finds under the same name, nor one of the same
    __qualname__. C.method(instance, 1) is the same call as instance.method(1). What becomes of the results in a copy of an
    instance is free.
    """
    raise NotImplementedError("decorators.cached_method: write me")
