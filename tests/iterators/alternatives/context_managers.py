"""contextlib closes what has to be closed; the thread takes turns by two semaphores, and hands on functions that return or raise."""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext


def require(condition: bool) -> None:
    if not condition:
        raise ValueError("an argument is out of range")


def batched(items: Iterable, n: int, *, drop_last: bool = False) -> Iterator[list]:
    require(n > 0)

    def generate():
        source, missing = iter(items), object()
        while (item := next(source, missing)) is not missing:
            batch = [item]
            while len(batch) < n and (item := next(source, missing)) is not missing:
                batch += [item]
            if len(batch) < n and drop_last:
                return
            yield batch

    return generate()


def shard(items: Iterable, index: int, count: int) -> Iterator:
    require(count > 0)
    require(0 <= index < count)
    return (item for number, item in enumerate(items) if (number - index) % count == 0)


def shuffle_buffer(items: Iterable, size: int, *, rng: random.Random) -> Iterator:
    require(size > 0)

    def generate():
        source = iter(items)
        held = []
        for item in source:
            held.append(item)
            del item
            if len(held) == size:
                yield held.pop(rng.randrange(size))
        yield from rng.sample(held, len(held))

    return generate()


class Repeatable:
    make: Callable[[], Iterator]

    def __init__(self, make):
        vars(self)["make"] = make

    def __iter__(self):
        return vars(self)["make"]()


@contextmanager
def reading(items, size):
    ready, filled, room, wanted = deque(), threading.Semaphore(0), threading.Semaphore(size), [True]

    def hand_over(kind, value):
        ready.append((kind, value))
        filled.release()

    def work():
        try:
            source = iter(items)
            with closing(source) if callable(getattr(source, "close", None)) else nullcontext():
                while room.acquire() and wanted:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    hand_over("item", item)
                    del item
        except BaseException as error:
            hand_over("error", error)
        else:
            hand_over("end", None)

    def take():
        filled.acquire()
        room.release()
        return ready.popleft()

    threading.Thread(target=work, name="reader", daemon=True).start()
    try:
        yield take
    finally:
        wanted.clear()
        room.release()


def prefetch(items: Iterable, size: int) -> Iterator:
    require(size > 0)

    def generate():
        with reading(items, size) as take:
            while True:
                kind, value = take()
                if kind == "end":
                    break
                if kind == "error":
                    raise value
                yield value

    return generate()
