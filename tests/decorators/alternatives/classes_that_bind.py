"""Classes as decorators, and as what they make: __call__ does the work, __get__ binds. The dictionary is a plain one, in which a use
takes an entry out and puts it back."""

import time
from collections import namedtuple
from functools import update_wrapper
from types import MethodType

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "maxsize", "currsize"])
MISSING = object()


class Wrapper:
    def __init__(self, function):
        update_wrapper(self, function)  # first, because it copies what another Wrapper has in its __dict__
        self._function = function

    def __get__(self, instance, owner=None):
        return self if instance is None else MethodType(self, instance)


class Retried(Wrapper):
    def __init__(self, function, options):
        super().__init__(function)
        self._options = options

    def __call__(self, /, *args, **kwargs):
        o = self._options
        failed = 0
        wait = o.delay
        while failed < o.times:
            if failed:
                o.sleep(wait)
                wait *= o.backoff
            try:
                return self._function(*args, **kwargs)
            except o.exceptions as error:
                failed += 1
                last = error
        raise last


class retry:
    def __init__(self, times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
        for name, value, least in (("times", times, 1), ("delay", delay, 0), ("backoff", backoff, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}")
        self.times, self.exceptions, self.delay, self.backoff, self.sleep = times, exceptions, delay, backoff, sleep

    def __call__(self, function):
        return Retried(function, self)


class Cached(Wrapper):
    def __init__(self, function, maxsize):
        super().__init__(function)
        self._entries, self._maxsize = {}, maxsize
        self._hits = self._misses = 0

    def __call__(self, /, *args, **kwargs):
        key = Key(args, kwargs)
        result = self._entries.pop(key, MISSING)
        if result is not MISSING:
            self._hits += 1
            self._entries[key] = result
            return result
        self._misses += 1
        result = self._function(*args, **kwargs)
        if self._maxsize != 0:
            self._entries.pop(key, None)
            if self._maxsize is not None and len(self._entries) >= self._maxsize:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = result
        return result

    def cache_info(self):
        return CacheInfo(self._hits, self._misses, self._maxsize, len(self._entries))

    def cache_clear(self):
        self._entries = {}
        self._hits = self._misses = 0


class Key:
    """Hashed once, and compared by both parts."""

    __slots__ = ("parts", "value")

    def __init__(self, args, kwargs):
        self.parts = args, kwargs
        self.value = hash((args, *sorted(kwargs), *(hash(kwargs[name]) for name in sorted(kwargs))))

    def __hash__(self):
        return self.value

    def __eq__(self, other):
        return self.parts == other.parts


def lru_cache(maxsize=128):
    if maxsize is None or maxsize >= 0:
        return lambda function: Cached(function, maxsize)
    raise ValueError("maxsize must not be negative")


class cached_method(Wrapper):
    def __call__(self, instance, /, *args, **kwargs):
        results = instance.__dict__.setdefault("results of methods", {})
        key = self, Key(args, kwargs)
        result = results.get(key, MISSING)
        if result is MISSING:
            result = results[key] = self._function(instance, *args, **kwargs)
        return result
