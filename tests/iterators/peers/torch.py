"""torch's DataPipes: its batcher, its sharding filter and its shuffler, which draws as the kata does. The shuffler seeds a
random.Random of its own: it is told the seed. A pipe closes the generator that it reads, so it is shown none. torch prefetches
the batches of a DataLoader, not what any iterator gives: that is by hand."""

import queue
import threading

from torch.utils.data.datapipes.iter import Batcher, IterableWrapper, ShardingFilter, Shuffler


class Open:
    """Iterators without a close."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return map(lambda item: item, self.items)


def wrapped(items):
    return IterableWrapper(Open(items), deepcopy=False)


def batched(items, n, *, drop_last=False):
    if n < 1:
        raise ValueError("n")
    return iter(Batcher(wrapped(items), n, drop_last, list))


def shard(items, index, count):
    if not 0 <= index < count:
        raise ValueError("index")
    pipe = ShardingFilter(wrapped(items))
    pipe.apply_sharding(count, index)
    return iter(pipe)


def shuffle_buffer(items, size, *, rng):
    if size < 1:
        raise ValueError("size")

    def draws():  # at the first next, so that the seed is drawn in the order of the passes
        yield from Shuffler(wrapped(items), buffer_size=size).set_seed(rng.getrandbits(63))

    return draws()


class Repeatable:
    def __init__(self, make):
        self.make = make

    def __iter__(self):
        return iter(self.make())


def prefetch(items, size):
    if size < 1:
        raise ValueError("size")
    return ahead(items, size)


def ahead(items, size):
    box, closing = queue.Queue(size), threading.Event()

    def put(kind, value):
        while not closing.is_set():
            try:
                return box.put((kind, value), timeout=0.02)
            except queue.Full:
                pass

    def run():
        try:
            source = iter(items)
            try:
                for item in source:
                    put("item", item)
                    del item
                    if closing.is_set():
                        return
            finally:
                if hasattr(source, "close"):
                    source.close()
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            kind, value = box.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closing.set()
