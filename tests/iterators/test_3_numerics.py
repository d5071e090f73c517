"""Stage 3. Exceptions of the source, the end of a prefetch and of its thread, and random orders."""

import queue
import random
import threading
import time
from itertools import count, permutations

import pytest
import torch

from dojo.testing import expect, expect_equal
from dojo.testing.chi_square import fit_p_value
from katas.iterators import prefetch, shuffle_buffer

from .helpers import CALLS, STAGES, WAITS, each_in_a_list, ended, expect_given, let_go
from .probe import Source, Thing, asked, soon

STOP = (
    "tell the thread to stop, and wake it up if it waits for room; a generator does so in a `finally` around its yield"
)
ERRORS = {error.__name__: error for error in (KeyError, RuntimeError, queue.Empty, queue.Full, GeneratorExit, Thing)}
DRAWS, LEAST_P = 1500, 1e-6


class Open:
    """An iterator with a close() of its own."""

    def __init__(self, items):
        self.items, self.closed = iter(items), 0

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("of", STAGES)
def test_an_exception_of_the_source_is_passed_on(of):
    """The object itself, by the next() that needed the item."""
    error = KeyError("of the source")
    right = [*each_in_a_list(of, [0, 1]), "raised itself"]
    hint = "no `except` around the source but to pass on what it raised: no other class, and no end in its place"
    what = f"{CALLS[of]} of a source that raises after two items"
    expect_given(lambda: STAGES[of](Source(range(2), error).stream), right, what, hint, times=3, error=error)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("name", ERRORS)
def test_prefetch_passes_on_every_exception(name, size):
    """Whatever its class, after the items before it. Then the iterator has ended."""
    error = ERRORS[name]("of the source")
    hint = "catch BaseException in the thread, put it behind the items, and raise it where next() takes it out"
    what = f"prefetch(items, {size}) of two items and an exception"

    def items():
        yield from range(2)
        raise error

    expect_given(lambda: prefetch(items(), size), [0, 1, "raised itself"], what, hint, error=error)


def test_an_exception_waits_for_its_turn():
    """Also if the thread met it long before somebody asks."""
    error = KeyError("of the source")
    source = Source(range(3), error)

    def run():
        made = prefetch(source.stream, 9)
        first = asked(made, 1)
        soon(source.is_left)
        return first + asked(made, 9, error)

    given = ended(run, "prefetch of an exception that was read ahead")
    right = [0, 1, 2, "raised itself", "end", "end"]
    expect_equal(
        given, right, what="what next() gives when all was read ahead", hint="put it into the queue, in its place"
    )


@pytest.mark.parametrize("kind", ["no iterable", "its __iter__ raises"])
def test_a_source_that_cannot_be_read_is_an_error(kind):
    """When prefetch is called, or at the first next(); but nobody waits for ever."""

    class Broken:
        def __iter__(self):
            raise TypeError("no")

    items = 5 if kind == "no iterable" else Broken()
    given = ended(
        lambda: asked((item for _ in "1" for item in prefetch(items, 2)), 1), f"prefetch of a source: {kind},"
    )
    expect_equal(given, ["raised TypeError"], what=f"what prefetch of a source gives: {kind}", hint=WAITS)


def test_the_source_may_be_slow():
    """An empty queue is not the end."""
    items = (time.sleep(0.04) or item for item in range(3))
    hint = "wait for the next item, without a limit of time; the end has to be said"
    expect_given(lambda: prefetch(items, 2), [0, 1, 2], "prefetch of a slow source", hint)


def test_the_consumer_may_be_slow():
    """What is ready stays ready."""
    made = ended(lambda: prefetch(iter(range(5)), 2), "prefetch")
    given = ended(lambda: [asked(made, 1) + [time.sleep(0.03)] for _ in range(3)] + asked(made, 9), "a slow loop")
    right = [*([item, None] for item in range(3)), 3, 4, "end", "end"]
    expect_equal(given, right, what="what a slow loop over prefetch gets", hint="the thread waits until there is room")


def test_the_thread_is_a_daemon():
    """Otherwise a program that breaks off in a loop never ends."""

    def run():
        return list(prefetch((threading.current_thread().daemon for _ in range(2)), 9))

    ended(run, "prefetch of two items")  # in a thread that is a daemon; so from this one as well:
    expect_equal(run(), [True, True], what="whether the thread that reads is a daemon", hint="Thread(..., daemon=True)")


def running(size=2, items=None):
    """(source, prefetch) of which one item was taken, and whose thread waits for room."""
    source = Source(count())
    made = prefetch(source.stream if items is None else items(source.stream), size)
    ended(lambda: next(made), "the first next() of prefetch")
    soon(lambda: source.reads > size)
    return source, made


def expect_left(source, what, hint=STOP):
    """The thread has ended, or does so within a moment."""
    expect(soon(source.is_left), f"{what} should end the thread, but it still runs", hint=hint)


@pytest.mark.parametrize("error", [None, KeyError("of the source")], ids=["end", "exception"])
def test_the_thread_ends_with_the_source(error):
    """Without a close()."""
    source = Source(range(3), error)
    made = prefetch(source.stream, 2)
    ended(lambda: asked(made), "prefetch of three items")
    expect_left(source, "the end of the source", "leave the loop at the end, and wait for nothing more")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_closing_ends_the_thread(size):
    """Although it waits for room, which never comes."""
    source, made = running(size)
    ended(made.close, "close()", STOP)
    expect_left(source, "close()")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dropping_ends_the_thread(size):
    """Nobody calls close() after a break."""
    source, made = running(size)
    del made
    let_go(source)
    hint = f"{STOP}. The thread must not refer to the iterator, or the iterator is never dropped"
    expect_left(source, "the end of the last reference to the iterator", hint)


def test_leaving_a_loop_ends_the_thread():
    """A break drops the iterator."""
    source = Source(count())

    def run():
        for item in prefetch(source.stream, 3):
            if item == 2:
                break

    ended(run, "a loop over prefetch that is left")
    let_go(source)
    expect_left(source, "a loop that is left")


def test_an_exception_in_the_loop_ends_the_thread():
    """As a break does."""
    source = Source(count())

    def run():
        try:
            for _ in prefetch(source.stream, 3):
                raise KeyError
        except KeyError:
            pass

    ended(run, "a loop over prefetch that raises")
    let_go(source)
    expect_left(source, "a loop that raises")


@pytest.mark.parametrize("how", ["close", "drop"])
def test_the_source_is_closed(how):
    """So that its `finally` runs, though somebody still refers to it."""
    source, made = running()
    if how == "close":
        ended(made.close, "close()", STOP)
    del made
    let_go(source)
    hint = "when the thread stops, it closes the iterator that it reads, if that has a method close()"
    expect(source.over, f"to {how} the iterator should close the source, but its `finally` has not run", hint=hint)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_every_iterator_with_a_close_is_closed(how):
    """Not generators alone; and not what was handed in, if it is another object."""
    opened = []

    class Folder:
        closed = 0

        def __iter__(self):
            opened.append(Open(count()))
            return opened[-1]

        def close(self):
            self.closed += 1

    folder = Folder()
    made = prefetch(folder, 2)
    ended(lambda: next(made), "the first next() of prefetch")
    if how == "close":
        ended(made.close, "close()", STOP)
    del made
    hint = "close what iter(items) gave, when you stop reading it"
    let_go(Source([]))
    closed = soon(lambda: opened[0].closed)
    expect(closed, f"to {how} the iterator should close the iterator of the source, but it is open", hint=hint)
    expect(not folder.closed, "what was handed to prefetch is read again next time, but was closed", hint=hint)


def test_sources_without_a_close_are_fine():
    """A list's iterator has none."""
    made = prefetch(list(range(9)), 2)
    ended(lambda: asked(made, 1), "next() of prefetch of a list")
    ended(made.close, "close() of prefetch of a list")
    expect_equal(ended(lambda: asked(made, 1), "next()"), ["end"], what="what next() gives after close()")


def test_a_closed_iterator_has_ended():
    """Whatever was ready, and however often it is closed."""
    _, made = running()
    for _ in range(2):
        ended(made.close, "close()", STOP)
        given = ended(lambda: asked(made, 2), "next() after close()")
        expect_equal(given, ["end", "end"], what="what next() gives after close()", hint="yield nothing in a `finally`")


@pytest.mark.parametrize("error", [None, KeyError("of the source")], ids=["end", "exception"])
def test_closing_after_the_end_does_nothing(error):
    """As for every iterator with a close()."""
    made = prefetch(Source(range(3), error).stream, 2)
    ended(lambda: asked(made), "prefetch of three items")
    ended(made.close, "close() after the end")
    expect_equal(ended(lambda: asked(made, 1), "next()"), ["end"], what="what next() gives after the end and close()")


@pytest.mark.parametrize("how", ["close", "drop"])
def test_an_iterator_may_be_closed_unused(how):
    """Before its first next()."""
    source = Source(count())
    made = prefetch(source.stream, 2)
    if how == "close":
        ended(made.close, "close() before the first next()")
        expect_equal(ended(lambda: asked(made, 1), "next()"), ["end"], what="what next() gives after close()")
    del made
    let_go(Source([]))
    expect_left(source, f"to {how} an iterator that nobody asked")


def test_a_source_that_waits_is_left_when_it_goes_on():
    """Nobody can stop it before; close() need not wait for it, but the thread ends then."""
    goes_on = threading.Event()

    def items():
        yield 1
        goes_on.wait(5)
        yield 2

    source = Source(items())
    made = prefetch(source.stream, 2)
    ended(lambda: next(made), "the first next() of prefetch")
    threading.Timer(0.02, goes_on.set).start()
    ended(made.close, "close() while the source waits", STOP)
    expect_left(source, "close() while the source waits")


@pytest.mark.parametrize(("n", "size"), [(3, 3), (3, 7), (4, 4), (3, 2), (4, 2), (4, 3), (5, 2)])
def test_each_draw_is_uniform_over_the_buffer(rng, n, size):
    """So all orders that can come are equally likely; with a large buffer these are all."""
    draws = random.Random(int(torch.randint(10**9, (1,), generator=rng)))
    orders = [order for order in permutations(range(n)) if all(item < i + size for i, item in enumerate(order))]
    counts = dict.fromkeys(orders, 0)
    for _ in range(DRAWS):
        order = tuple(shuffle_buffer(range(n), size, rng=draws))
        possible = order in counts
        expect(possible, f"shuffle_buffer of {n} items, size {size}, should give one of {orders}, but gave {order}")
        counts[order] += 1
    p = fit_p_value(torch.tensor(list(counts.values())), torch.full((len(orders),), 1 / len(orders)))
    sentence = f"the {len(orders)} orders of {n} items with size {size} should be equally likely, but came {counts}"
    hint = "each item is drawn from the buffer with equal probability, at its end too: rng.randrange(len(held))"
    expect(p > LEAST_P, sentence, hint=hint)


def order(rng, n=60, size=20):
    return list(shuffle_buffer(range(n), size, rng=rng))


def test_rng_decides_the_order():
    """The same state gives the same order, another one another."""
    one = order(random.Random(5))
    expect(
        one == order(random.Random(5)), "equal states of rng should give the same order, but gave two", hint="use rng"
    )
    expect(one != order(random.Random(6)), "another rng should give another order, but gave the same", hint="use rng")


def test_the_next_pass_has_another_order():
    """rng goes on: no copy of it, and no seed that is set again."""
    draws = random.Random(5)
    hint = "draw from rng itself"
    expect(
        order(draws) != order(draws), "the next pass with an rng should have another order, but has the same", hint=hint
    )


def test_the_global_random_numbers_are_left_alone():
    """random.shuffle(held) draws from them; rng.shuffle(held) does not."""
    random.seed(5)
    before, _ = random.getstate(), order(random.Random(5))
    hint = "rng.shuffle, rng.randrange: no function of the module random, and no seed()"
    expect(
        random.getstate() == before,
        "shuffle_buffer should leave the global random state alone, but changed it",
        hint=hint,
    )
