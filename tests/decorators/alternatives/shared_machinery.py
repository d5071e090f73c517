"""One decorator of decorators makes all three; the wrapper's core is a function of a call that has no arguments any more. The cache
is an object with get and put, which cached_method puts into the instance."""

import contextlib
import functools
import operator
import time
from collections import OrderedDict
from dataclasses import astuple, dataclass, field
from typing import Any, NamedTuple


class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int | None
    currsize: int


def around(around_call):
    """A decorator made of a function of (the decorated function, its arguments)."""

    def decorate(function):
        return functools.wraps(function)(lambda *args, **kwargs: around_call(function, args, kwargs))

    return decorate


def at_least(lowest, **values):
    for name, value in values.items():
        if value is not None and value < lowest:
            raise ValueError(f"{name} = {value} is less than {lowest}")


def retry(times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
    at_least(1, times=times)
    at_least(0, delay=delay, backoff=backoff)

    def attempts(function, args, kwargs):
        wait, results = delay, []
        for _ in range(times - 1):
            with contextlib.suppress(*exceptions):
                results.append(function(*args, **kwargs))
            if results:
                return results[0]
            sleep(wait)
            wait = operator.mul(wait, backoff)
        return function(*args, **kwargs)

    return around(attempts)


@dataclass
class Store:
    maxsize: int | None = None
    hits: int = 0
    misses: int = 0
    entries: Any = field(default_factory=OrderedDict)

    def answer(self, function, args, kwargs, before=()):
        key = (args, *map(frozenset, (kwargs.items(), kwargs)))
        try:
            answer = self.entries.pop(key)
        except KeyError:
            self.misses += 1
        else:
            self.hits += 1
            self.entries[key] = answer
            return answer
        answer = function(*before, *args, **kwargs)
        self.entries[key] = answer
        self.entries.move_to_end(key)
        if self.maxsize is not None:
            for _ in range(len(self.entries) - self.maxsize):
                self.entries.popitem(False)
        return answer

    def info(self):
        return CacheInfo(self.hits, self.misses, self.maxsize, len(self.entries))

    def clear(self):
        self.hits, self.misses, self.entries = astuple(Store())[1:]


def lru_cache(maxsize=128):
    at_least(0, maxsize=maxsize)

    def decorate(function):
        store = Store(maxsize)
        wrapper = around(store.answer)(function)
        wrapper.cache_info, wrapper.cache_clear = store.info, store.clear
        return wrapper

    return decorate


def cached_method(method):
    mark = f"{method.__module__}.{method.__qualname__} of {id(method)}"

    def answer(function, args, kwargs):
        instance, *rest = args
        stores = instance.__dict__
        if mark not in stores:
            stores[mark] = Store()
        return stores[mark].answer(function, tuple(rest), kwargs, before=(instance,))

    return around(answer)(method)
