"""Iterators as classes, with __next__, and a thread that begins at the call and knows nothing of its iterator."""

import threading
import weakref
from collections import deque


class Stage:
    def __init__(self, items):
        self.source, self.over = iter(items), False

    def __iter__(self):
        return self

    def __next__(self):
        if self.over:
            raise StopIteration
        try:
            return self.following()
        except BaseException:
            self.over = True
            self.source = None
            raise


class Batches(Stage):
    def __init__(self, items, n, drop_last):
        super().__init__(items)
        self.n, self.drop_last = n, drop_last

    def following(self):
        batch = [next(self.source)]
        while len(batch) < self.n:
            try:
                batch.append(next(self.source))
            except StopIteration:
                self.over = True
                if self.drop_last:
                    raise
                break
        return batch


class Shard(Stage):
    def __init__(self, items, index, count):
        super().__init__(items)
        self.skip, self.count = index, count

    def following(self):
        for _ in range(self.skip):
            next(self.source)
        self.skip = self.count - 1
        return next(self.source)


class Shuffled(Stage):
    def __init__(self, items, size, rng):
        super().__init__(items)
        self.size, self.rng, self.held, self.more = size, rng, [], True

    def following(self):
        while self.more and len(self.held) < self.size:
            try:
                self.held.append(next(self.source))
            except StopIteration:
                self.more = False
        if not self.held:
            raise StopIteration
        return self.held.pop(int(self.rng.random() * len(self.held)))


class Shelf:
    """What the thread and the iterator share."""

    def __init__(self, size):
        self.size, self.ready, self.changed = size, deque(), threading.Condition()
        self.over = self.unwanted = False
        self.error = None

    def leave(self):
        with self.changed:
            self.unwanted = self.over = True
            self.ready.clear()
            self.changed.notify_all()

    def fill(self, items):
        source = None
        try:
            source = iter(items)
            for item in source:
                with self.changed:
                    self.ready.append(item)
                    self.changed.notify_all()
                    self.changed.wait_for(lambda: self.unwanted or len(self.ready) < self.size)
                    if self.unwanted:
                        break
        except BaseException as error:
            self.error = error
        finally:
            if hasattr(source, "close"):
                source.close()
            with self.changed:
                self.over = True
                self.changed.notify_all()


class Prefetched:
    def __init__(self, items, size):
        self.shelf = Shelf(size)
        threading.Thread(target=self.shelf.fill, args=(items,), daemon=True).start()
        self.close = weakref.finalize(self, self.shelf.leave)

    def __iter__(self):
        return self

    def __next__(self):
        shelf = self.shelf
        with shelf.changed:
            shelf.changed.wait_for(lambda: shelf.ready or shelf.over)
            if shelf.ready and not shelf.unwanted:
                item = shelf.ready.popleft()
                shelf.changed.notify_all()
                return item
            error, shelf.error = shelf.error, None
        if error is not None and not shelf.unwanted:
            raise error
        raise StopIteration


class Repeatable:
    def __init__(self, make):
        self.__iter = make

    def __iter__(self):
        return iter(self.__iter())


def checked(good, sentence):
    if not good:
        raise ValueError(sentence)


def batched(items, n, *, drop_last=False):
    checked(n >= 1, f"n={n}")
    return Batches(items, n, drop_last)


def shard(items, index, count):
    checked(0 <= index <= count - 1, f"index={index}, count={count}")
    return Shard(items, index, count)


def shuffle_buffer(items, size, *, rng):
    checked(size >= 1, f"size={size}")
    return Shuffled(items, size, rng)


def prefetch(items, size):
    checked(size >= 1, f"size={size}")
    return Prefetched(items, size)
