"""A beginner's code: flags and lists in place of nonlocal, errors caught in one place, names copied by hand, ifs for each size."""

import collections
import time


class CacheInfo(collections.namedtuple("CacheInfo", "hits misses maxsize currsize")):
    pass


def copy_names(new, old):
    for name in ["__module__", "__name__", "__qualname__", "__doc__", "__annotations__"]:
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
    for name in old.__dict__:
        new.__dict__[name] = old.__dict__[name]
    new.__wrapped__ = old


def retry(times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
    if times <= 0:
        raise ValueError("times is too small")
    if delay < 0.0 or backoff < 0.0:
        raise ValueError("negative waiting")

    def decorator(func):
        def wrapper(*args, **kwargs):
            attempt = 1
            wait = delay
            done = False
            result = None
            while not done:
                try:
                    result = func(*args, **kwargs)
                    done = True
                except exceptions as e:
                    if attempt == times:
                        raise e
                    attempt = attempt + 1
                if not done:
                    if wait > 0:
                        sleep(wait)
                    wait = wait * backoff
            return result

        copy_names(wrapper, func)
        return wrapper

    return decorator


def make_key(args, kwargs):
    keywords = []
    for name in sorted(kwargs.keys()):
        keywords.append((name, kwargs[name]))
    return (len(args), args, tuple(keywords))


def lru_cache(maxsize=128):
    if maxsize is not None and maxsize < 0:
        raise ValueError("maxsize must be 0 or more")

    def decorator(func):
        cache = dict()
        hits = [0]
        misses = [0]

        def wrapper(*args, **kwargs):
            key = make_key(args, kwargs)
            hash(key)
            if maxsize == 0:
                misses[0] += 1
                return func(*args, **kwargs)
            if key in cache:
                hits[0] += 1
                value = cache[key]
                del cache[key]
                cache[key] = value
                return value
            else:
                misses[0] += 1
                value = func(*args, **kwargs)
                cache.pop(key, None)
                cache[key] = value
                if maxsize is not None and len(cache) > maxsize:
                    keys = iter(cache)
                    first = next(keys)
                    del cache[first]
                return value

        def cache_info():
            return CacheInfo(hits[0], misses[0], maxsize, len(cache))

        def cache_clear():
            cache.clear()
            hits[0] = 0
            misses[0] = 0

        copy_names(wrapper, func)
        wrapper.cache_info = cache_info
        wrapper.cache_clear = cache_clear
        return wrapper

    return decorator


def cached_method(method):
    def wrapper(self, *args, **kwargs):
        everything = self.__dict__.get("_method_cache")
        if everything is None:
            everything = {}
            self.__dict__["_method_cache"] = everything
        if wrapper not in everything:
            everything[wrapper] = {}
        cache = everything[wrapper]
        key = make_key(args, kwargs)
        if key not in cache:
            cache[key] = method(self, *args, **kwargs)
        return cache[key]

    copy_names(wrapper, method)
    return wrapper
