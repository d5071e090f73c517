"""Stage 3. The thread and the source of a prefetch that has ended, is closed, or is dropped."""

import threading
from itertools import count

import pytest

from dojo.testing import expect, expect_equal
from katas.iterators import prefetch

from .helpers import collect, ended, let_go
from .probe import Source, asked, soon

STOP = (
    "tell the thread to stop, and wake it up if it waits for room; a generator does so in a `finally` around its yield"
)


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
    collect()
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
    collect()
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
    collect()
    expect_left(source, "a loop that raises")


@pytest.mark.parametrize("how", ["close", "drop"])
def test_the_source_is_closed(how):
    """So that its `finally` runs, though somebody still refers to it."""
    source, made = running()
    if how == "close":
        ended(made.close, "close()", STOP)
    del made
    hint = "when the thread stops, it closes the iterator that it reads, if that has a method close()"
    expect(let_go(source), f"to {how} the iterator should close the source, but its `finally` has not run", hint=hint)


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
    collect()
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
        given = ended(lambda: asked(made, 1) + asked(made, 1), "next() after close()")
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
    collect()
    expect_left(source, f"to {how} an iterator that nobody asked")


def test_a_source_that_waits_is_left_when_it_goes_on():
    """Nobody can stop it before; close() need not wait for it, but the thread ends then."""
    goes_on = threading.Event()

    def items():
        yield 1
        goes_on.wait(5)
        yield from range(2, 30)

    source = Source(items())
    made = prefetch(source.stream, 20)
    ended(lambda: next(made), "the first next() of prefetch")
    threading.Timer(0.02, goes_on.set).start()
    ended(made.close, "close() while the source waits", STOP)
    expect_left(source, "close() while the source waits")
    sentence = f"after close() at most two items should be read, but {source.reads - 1} were"
    expect(source.reads <= 3, sentence, hint="look whether to stop after every item, not only where there is no room")
