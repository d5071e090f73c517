"""Calls are bound to the function's signature, so f(1) and f(x=1) share an entry, and the types of arguments are part of the key.
Generators give the waits; a cache of one instance is an LRU cache without a limit."""

import functools
import inspect
import itertools
import time
from collections import OrderedDict
from typing import NamedTuple


class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int | None
    currsize: int


def waits(delay, backoff):
    while True:
        yield delay
        delay *= backoff


def retry(times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
    if not (times >= 1 and delay >= 0 and backoff >= 0):
        raise ValueError("times from 1 on, delay and backoff from 0 on")

    def decorate(func):
        def wrapped(*args, **kwargs):
            for wait in itertools.islice(waits(delay, backoff), times - 1):
                try:
                    result = func(*args, **kwargs)
                except exceptions:
                    sleep(wait)
                else:
                    return result
            return func(*args, **kwargs)

        return functools.update_wrapper(wrapped, func)

    return decorate


def maker_of_keys(func):
    try:
        signature = inspect.signature(func)
    except (TypeError, ValueError):
        signature = None

    def make(args, kwargs):
        if signature is None:
            names = sorted(kwargs)
            return args, tuple(names), tuple(kwargs[name] for name in names), tuple(map(type, args))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the call will say it better
            return args, tuple(kwargs.items()), None
        bound.apply_defaults()
        key = []
        for name, parameter in signature.parameters.items():
            value = bound.arguments[name]
            if parameter.kind is parameter.VAR_KEYWORD:
                value = tuple((k, type(value[k]), value[k]) for k in sorted(value))
            elif parameter.kind is parameter.VAR_POSITIONAL:
                value = tuple((type(v), v) for v in value)
            key.append((type(value), value))
        return tuple(key)

    return make


def lru_cache(maxsize=128):
    if maxsize is not None and maxsize < 0:
        raise ValueError(f"maxsize is {maxsize}")

    def decorate(func):
        key_of = maker_of_keys(func)
        store = OrderedDict()
        counts = [0, 0]

        def wrapped(*args, **kwargs):
            key = key_of(args, kwargs)
            try:
                (result,) = store[key]
            except KeyError:
                counts[1] += 1
            else:
                counts[0] += 1
                store.move_to_end(key)
                return result
            result = func(*args, **kwargs)
            store[key] = (result,)
            while maxsize is not None and len(store) > maxsize:
                store.popitem(last=False)
            return result

        functools.update_wrapper(wrapped, func)
        wrapped.cache_info = lambda: CacheInfo(*counts, maxsize, len(store))

        def cache_clear():
            store.clear()
            counts[:] = 0, 0

        wrapped.cache_clear = cache_clear
        return wrapped

    return decorate


class cached_method:
    """A descriptor: what it binds is a function of its own each time, the results are in the instance."""

    def __init__(self, method):
        self.method = method
        self.key_of = maker_of_keys(method)
        functools.update_wrapper(self, method)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self

        @functools.wraps(self.method)
        def bound(*args, **kwargs):
            return self(instance, *args, **kwargs)

        return bound

    def __call__(self, instance, /, *args, **kwargs):
        results = vars(instance).setdefault(f"__cached_{id(self)}", {})
        key = self.key_of((None, *args), kwargs)
        if key not in results:
            results[key] = self.method(instance, *args, **kwargs)
        return results[key]
