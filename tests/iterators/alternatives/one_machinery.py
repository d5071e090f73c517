"""One decorator checks at the call for all; the thread runs a generator of its own, and a lock hands over one list."""

import functools
import operator
import threading
import time


def lazily(check):
    """A generator function whose arguments are checked before it runs."""

    def decorate(generator):
        @functools.wraps(generator)
        def wrapper(items, *args, **kwargs):
            if not check(*args):
                raise ValueError(f"{generator.__name__}: wrong arguments {args}")
            return generator(items, *args, **kwargs)

        return wrapper

    return decorate


positive = functools.partial(operator.le, 1)


@lazily(positive)
def batched(items, n, *, drop_last=False):
    batch = [None] * n
    filled = 0
    for batch[filled] in items:
        filled += 1
        if filled == n:
            yield batch
            batch, filled = [None] * n, 0
    if filled and not drop_last:
        yield batch[:filled]


@lazily(lambda index, count: 0 <= index < count)
def shard(items, index, count):
    wait = index
    for item in items:
        if not wait:
            yield item
            wait = count
        wait -= 1


@lazily(positive)
def shuffle_buffer(items, size, *, rng):
    held = []
    source = iter(items)
    more = True
    while more or held:
        while more and len(held) < size:
            for item in source:
                held.append(item)
                break
            else:
                more = False
        if held:
            item = None
            held.sort(key=lambda item: rng.random()) if len(held) < 3 else rng.shuffle(held)
            yield held.pop()


class Repeatable:
    __slots__ = ("_make",)

    def __init__(self, make):
        self._make = make

    def __iter__(self):
        made = self._make()
        return made


@lazily(positive)
def prefetch(items, size):
    lock, ready, state = threading.Lock(), [], {"stop": False, "over": False, "error": None}

    def work():
        source = iter(())
        try:
            source = iter(items)
            while not state["stop"]:
                with lock:
                    full = len(ready) >= size
                if full:
                    time.sleep(0.002)
                    continue
                item = next(source)
                with lock:
                    ready.append([item])
                item = None
        except StopIteration:
            pass
        except BaseException as error:
            state["error"] = error
        finally:
            if state["stop"] and hasattr(source, "close"):
                source.close()
            state["over"] = True

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            over = state["over"]
            with lock:
                box = ready.pop(0) if ready else None
            if box is not None:
                yield box.pop()
            elif over:
                if state["error"] is not None:
                    raise state["error"]
                return
            else:
                time.sleep(0.001)
    finally:
        state["stop"] = True
