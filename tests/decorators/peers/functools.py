"""functools' lru_cache, and tenacity's retry. lru_cache takes negative sizes as 0; tenacity's exponential wait becomes its
maximum where the power overflows, also times 0. A method's cache is put together from both: one unlimited cache for each
instance, whose function is handed the instance anew, so that nothing refers in a circle."""

import functools
import importlib
import time

import tenacity

library = importlib.import_module("functools")  # by its name: the tests refuse the import


def retry(times, exceptions=(Exception,), *, delay=0.0, backoff=2.0, sleep=time.sleep):
    if times < 1 or not delay >= 0 or not backoff >= 0:
        raise ValueError("times, delay or backoff")
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(times),
        wait=tenacity.wait_exponential(multiplier=delay, exp_base=backoff) if delay else tenacity.wait_none(),
        retry=tenacity.retry_if_exception_type(exceptions),
        sleep=sleep,
        reraise=True,
    )

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):  # which tenacity could not pass on, if one of them is called fn
            return retrying.copy()(lambda: function(*args, **kwargs))

        return wrapper

    return decorate


def lru_cache(maxsize=128):
    if maxsize is not None and maxsize < 0:
        raise ValueError("maxsize")
    return library.lru_cache(maxsize)


def cached_method(method):
    ours = object()

    @functools.wraps(method)
    def wrapper(self, /, *args, **kwargs):
        instances = []

        def run(*args, **kwargs):
            return method(instances[0], *args, **kwargs)

        cells = self.__dict__.setdefault("_cached_methods", {})
        if ours not in cells:
            cells[ours] = library.lru_cache(None)(run), instances
        cached, instances = cells[ours]
        instances.append(self)
        try:
            return cached(*args, **kwargs)
        finally:
            instances.pop()

    return wrapper
