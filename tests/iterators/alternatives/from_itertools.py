"""As much as possible from itertools; a queue that is emptied so that a blocked thread goes on and sees that it should end."""

import queue
import threading
from itertools import chain, compress, cycle, islice, repeat


def batched(items, n, *, drop_last=False):
    if n < 1:
        raise ValueError(n)

    def pieces(source):
        if drop_last:
            yield from map(list, zip(*[source] * n))  # noqa: B905  a short last one is what zip drops
        else:
            for first in source:
                yield [first, *islice(source, n - 1)]

    return pieces(iter(items))


def shard(items, index, count):
    if index not in range(count):
        raise ValueError((index, count))
    return compress(items, cycle(chain(repeat(0, index), (1,), repeat(0, count - 1 - index))))


def shuffle_buffer(items, size, *, rng):
    if size < 1:
        raise ValueError(size)

    def mixed(source):
        held = dict(enumerate(islice(source, size)))
        for item in source:
            place = rng.choice(range(size))
            yield held.pop(place)
            held[place] = item
        rest = list(held)
        rng.shuffle(rest)
        while rest:
            yield held.pop(rest.pop())

    return mixed(iter(items))


class Repeatable:
    def __init__(self, make):
        self._new = make

    def __iter__(self):
        yield from self._new()


def prefetch(items, size):
    if size < 1:
        raise ValueError(size)

    def ahead():
        box, over, finished = queue.Queue(size), threading.Event(), object()

        def work():
            end, source = None, ()
            try:
                source = iter(items)
                for item in source:
                    box.put(item)
                    if over.is_set():
                        return
            except BaseException as error:
                end = error
            finally:
                try:
                    if over.is_set() and hasattr(source, "close"):
                        source.close()
                finally:
                    box.put((finished, end))

        reader = threading.Thread(target=work, daemon=True)
        reader.start()
        try:
            while True:
                item = box.get()
                if type(item) is tuple and len(item) == 2 and item[0] is finished:
                    if item[1] is not None:
                        raise item[1]
                    return
                yield item
                del item
        finally:
            over.set()
            while reader.is_alive():
                try:
                    box.get(timeout=0.01)
                except queue.Empty:
                    continue

    return ahead()
