"""Iterators.

An iterable can be asked for iterators, an iterator can be asked for items, one after the other, once. A function with a
`yield` makes an iterator: a call of it runs nothing, each `next` runs it up to the next yield. So a chain of them is a
data pipeline in which an item is read when somebody asks for it, and a source of any length needs little memory.

The four functions below are stages of such a pipeline, and each returns an iterator. All of them take any iterable as
their source: lists, iterators that can be read once, sources without an end. Items are passed on as they are, the objects
themselves, whatever they are: None, False, exceptions, arrays whose == gives no truth. All but shuffle_buffer keep the
order. Two calls share nothing. An iterator that has ended stays ended: each further `next` raises StopIteration.

When is what read? Nothing is read from the source before the first `next` (prefetch may begin at once), and later no
more than the docstrings say. Wrong arguments, however, raise ValueError when the function is called, not at the first
`next`. Whatever the source raises is raised, as it is, by a `next`: the one for which the item was read.

Who closes what? batched, shard and shuffle_buffer close nothing: who made the source may go on with it, and finds the
items that were not read. They keep a source alive only as long as their iterator is. prefetch reads ahead in a thread,
so nobody can go on after it: it closes what it reads.

Stage 1: lists.  Stage 2: sources that can be read once, without an end, or of odd items; wrong arguments.
Stage 3: exceptions, closing, orders.  Stage 4: the items that are held.
"""

import queue
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], n: int, *, drop_last: bool = False) -> Iterator[list[T]]:
    """Yields lists of n items, in order. The last one may hold fewer, at least 1; with drop_last such a one is left out.

    Each batch is a list of its own. Not one item more than its n is read for a batch. Two batches at most are held, the
    one that is gathered and the one that was given last. itertools.batched is forbidden.

    Raises ValueError if n < 1.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    # kata: begin
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}")

    def batches() -> Iterator[list[T]]:  # a function of its own: up to its first yield it would not run at the call
        iterator = iter(items)  # once, or a list would begin anew with each batch
        while batch := list(islice(iterator, n)):
            if len(batch) == n or not drop_last:
                yield batch

    return batches()
    # kata: end


def shard(items: Iterable[T], index: int, count: int) -> Iterator[T]:
    """Yields the items index, index + count, index + 2 * count, ..., counted from 0: the part of one of `count` workers.

    Each item is in the part of exactly one index. The source is read up to the item that is given, and not further.

    Raises ValueError unless 0 <= index < count.

    >>> list(shard("abcde", 1, 2))
    ['b', 'd']
    """
    # kata: begin
    if not 0 <= index < count:
        raise ValueError(f"index must be from 0 to count - 1, got {index} of {count}")
    return islice(items, index, None, count)
    # kata: end


def shuffle_buffer(items: Iterable[T], size: int, *, rng: random.Random) -> Iterator[T]:
    """Yields the items in a random order: each is drawn from the `size` items that were read first and not yet given.

    Every one of these is drawn with the same probability; towards the end they are fewer. So item number i of the output,
    from 0, is one of the first i + size items, size 1 changes nothing, and if size is at least the number of items, all
    orders are equally likely. At most `size` items are held, and one more that was just read.

    rng is the only source of randomness, and is used up as it goes: an rng in the same state gives the same order, the
    next pass with the same rng another one.

    Raises ValueError if size < 1.
    """
    # kata: begin
    if size < 1:
        raise ValueError(f"size must be 1 or more, got {size}")

    def shuffled() -> Iterator[T]:
        iterator = iter(items)
        held = list(islice(iterator, size))
        while held:
            place = rng.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
            held.extend(islice(iterator, 1))

    return shuffled()
    # kata: end


class Repeatable(Generic[T]):
    """A source that can be read again and again: every iter() of it is answered by a new call of `make`.

    So two loops over it, one after the other or one in the other, each get all the items. Nothing is kept of what was
    read, and `make` is called for loops alone.

    >>> lines = Repeatable(lambda: open("text"))
    """

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        # kata: begin
        self.make = make
        # kata: end

    def __iter__(self) -> Iterator[T]:
        # kata: begin
        return self.make()
        # kata: end


def prefetch(items: Iterable[T], size: int) -> Iterator[T]:
    """Yields the items, which one thread reads ahead: `size` are ready, or soon will be, while nobody asks.

    The thread begins at the call or at the first `next`. It never reads more than size + 1 items that were not asked for.
    It is a daemon, so that a program can end meanwhile. An exception of the source, of whatever class, is raised by the
    `next` that would have given the item, after all items before it; then the iterator has ended. The source may be slow.

    The iterator has a method close(). The thread ends by itself at the end of the source; when the iterator is closed or
    the last reference to it is gone, it ends as soon as the source lets it: within a tenth of a second or so, also if
    it was waiting for room. Then it has closed the iterator that it read, if that has a method close() (a generator's
    `finally` runs; what was handed to prefetch is not closed if it is another object). After close() the iterator has
    ended, and further calls of close() do nothing. Of one that is closed before its first `next`, the source may stay open.

    Raises ValueError if size < 1.
    """
    # kata: begin
    if size < 1:
        raise ValueError(f"size must be 1 or more, got {size}")
    return _read_ahead(items, size)
    # kata: end


# kata: begin
def _read_ahead(items: Iterable[T], size: int) -> Iterator[T]:
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()  # (item,) for an item, None for the end, or an exception
    room = threading.Semaphore(size)
    stopped = threading.Event()

    def read() -> None:
        end = None
        try:
            iterator = iter(items)
            try:
                while room.acquire() and not stopped.is_set():
                    ready.put((next(iterator),))
            finally:
                getattr(iterator, "close", lambda: None)()
        except StopIteration:
            pass
        except BaseException as error:
            end = error
        ready.put(end)

    threading.Thread(target=read, daemon=True).start()
    try:
        while isinstance(found := ready.get(), tuple):
            room.release()
            yield found[0]
        if found is not None:
            raise found
    finally:  # also when the iterator is closed, or nobody refers to it any more
        stopped.set()
        room.release()  # if the thread waits for room, it wakes up and sees that it is over


# kata: end
