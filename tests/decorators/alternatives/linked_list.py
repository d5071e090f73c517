"""A doubly linked list with a sentinel, as in the classic interview answer; a plain loop that counts down; results in a list of
dictionaries, one for each method."""

import functools
import time
from typing import NamedTuple


class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int | None
    currsize: int


def retry(times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
    if times < 1:
        raise ValueError("times must be at least 1")
    if delay < 0:
        raise ValueError("delay must not be negative")
    if backoff < 0:
        raise ValueError("backoff must not be negative")

    def decorator(f):
        @functools.wraps(f)
        def inner(*a, **kw):
            left, seconds = times, delay
            while True:
                left -= 1
                try:
                    return f(*a, **kw)
                except exceptions:
                    if left == 0:
                        raise
                if seconds:
                    sleep(seconds)
                seconds = seconds * backoff

        return inner

    return decorator


class Node:
    __slots__ = ("after", "before", "key", "value")

    def __init__(self):
        self.before = self.after = self

    def unlink(self):
        self.before.after = self.after
        self.after.before = self.before
        self.before = self.after = None

    def link_before(self, other):
        self.before, self.after = other.before, other
        other.before.after = self
        other.before = self


def lru_cache(maxsize=128):
    if maxsize is not None and maxsize < 0:
        raise ValueError("negative maxsize")

    def decorator(f):
        nodes = {}
        end = Node()
        counts = {"hits": 0, "misses": 0}

        @functools.wraps(f)
        def inner(*a, **kw):
            key = (a, tuple(sorted(kw)), tuple(kw[name] for name in sorted(kw)))
            node = nodes.get(key)
            if node is not None:
                counts["hits"] += 1
                node.unlink()
                node.link_before(end)
                return node.value
            counts["misses"] += 1
            value = f(*a, **kw)
            if maxsize == 0 or key in nodes:
                return value
            if maxsize is not None and len(nodes) == maxsize:
                oldest = end.after
                oldest.unlink()
                del nodes[oldest.key]
            node = nodes[key] = Node()
            node.key, node.value = key, value
            node.link_before(end)
            return value

        def cache_info():
            return CacheInfo(**counts, maxsize=maxsize, currsize=len(nodes))

        def cache_clear():
            nodes.clear()
            counts.update(hits=0, misses=0)
            while end.after is not end:
                end.after.unlink()

        inner.cache_info = cache_info
        inner.cache_clear = cache_clear
        return inner

    return decorator


def cached_method(method):
    unique = object()

    @functools.wraps(method)
    def inner(self, *a, **kw):
        place = self.__dict__
        if "__results" not in place:
            place["__results"] = {}
        mine = place["__results"].setdefault(unique, {})
        key = (a, tuple(sorted(kw)), tuple(kw[name] for name in sorted(kw)))
        if key in mine:
            return mine[key]
        value = mine[key] = method(self, *a, **kw)
        return value

    return inner
