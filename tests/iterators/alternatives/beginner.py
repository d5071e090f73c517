"""A beginner's code: loops and counters, a flag, and a thread that looks up every few hundredths of a second."""

import queue
import random
import threading


def batched(items, n, *, drop_last=False):
    if n <= 0:
        raise ValueError("n is too small")
    return make_batches(items, n, drop_last)


def make_batches(items, n, drop_last):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == n:
            yield batch
            batch = []
    if len(batch) > 0 and not drop_last:
        yield batch


def shard(items, index, count):
    if count < 1:
        raise ValueError("no workers")
    if index < 0 or index >= count:
        raise ValueError("no such worker")

    def part():
        number = 0
        for item in items:
            if number % count == index:
                yield item
            number = number + 1

    return part()


def shuffle_buffer(items, size, *, rng: random.Random):
    if size < 1:
        raise ValueError("size is too small")

    def generate():
        buffer = []
        for item in items:
            if len(buffer) < size:
                buffer.append(item)
            else:
                place = rng.randint(0, size - 1)
                chosen = buffer[place]
                buffer[place] = item
                yield chosen
        while len(buffer) > 0:
            yield buffer.pop(rng.randint(0, len(buffer) - 1))

    return generate()


class Repeatable:
    def __init__(self, make):
        self.make_iterator = make

    def __iter__(self):
        for item in self.make_iterator():  # noqa: UP028
            yield item


def prefetch(items, size):
    if size < 1:
        raise ValueError("size is too small")

    def generate():
        waiting = queue.Queue(maxsize=size)
        stop = []

        def put(kind, value):
            while not stop:
                try:
                    waiting.put((kind, value), timeout=0.03)
                    return
                except queue.Full:
                    pass

        def work():
            iterator = None
            try:
                iterator = iter(items)
                for item in iterator:
                    put("item", item)
                    if stop:
                        break
                put("end", None)
            except BaseException as error:
                put("error", error)
            if stop and hasattr(iterator, "close"):
                iterator.close()

        thread = threading.Thread(target=work)
        thread.daemon = True
        thread.start()
        try:
            while True:
                kind, value = waiting.get()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
        finally:
            stop.append(True)

    return generate()
