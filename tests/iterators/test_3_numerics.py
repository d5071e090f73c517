"""Stage 3. Exceptions of the source, slow sources, and random orders."""

import queue
import random
import threading
import time
from itertools import permutations

import pytest
import torch

from dojo.testing import expect, expect_equal
from dojo.testing.chi_square import fit_p_value
from katas.iterators import batched, prefetch, shuffle_buffer

from .helpers import CALLS, STAGES, WAITS, each_in_a_list, ended, expect_given, read, shown
from .probe import Source, Thing, asked, soon

ERRORS = {error.__name__: error for error in (KeyError, RuntimeError, queue.Empty, queue.Full, Thing)}
DRAWS, LEAST_P = 1500, 1e-6


@pytest.mark.parametrize("of", [of for of in STAGES if of != "shuffle_buffer"])
def test_an_exception_of_the_source_is_passed_on(of):
    """The object itself, by the next() that needed the item."""
    error = KeyError("of the source")
    right = [*each_in_a_list(of, [0, 1]), "raised itself"]
    hint = "no `except` around the source but to pass on what it raised: no other class, and no end in its place"
    what = f"{CALLS[of]} of a source that raises after two items"
    expect_given(lambda: STAGES[of](Source(range(2), error).stream), right, what, hint, times=3, error=error)


@pytest.mark.parametrize("size", [1, 3])
def test_an_exception_passes_a_shuffle_buffer(size):
    """As soon as it is read, when some items are still held."""
    error = KeyError("of the source")
    given = asked(shuffle_buffer(Source(range(6), error).stream, size, rng=random.Random(0)), 9, error)
    count = given.index("raised itself") if "raised itself" in given else -1
    sentence = (
        f"shuffle_buffer(items, {size}) of six items and an exception should give {6 - size} or one more and raise"
    )
    hint = "no `except` around the source"
    expect(count in (6 - size, 7 - size), f"{sentence}, but gave {shown(given)}", hint=hint)


def test_an_incomplete_batch_gives_way_to_an_exception():
    """The next() that met it raises it, and not a later one."""
    error = KeyError("of the source")
    what = "batched(items, 3) of four items and an exception"
    right, hint = [[0, 1, 2], "raised itself"], "no `finally` and no `except` that gives what was gathered"
    expect_given(lambda: batched(Source(range(4), error).stream, 3), right, what, hint, times=2, error=error)


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
    right = [0, 1, 2, "raised itself", "end"]
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
    try:
        made = prefetch(items, 2)
    except TypeError:
        return
    given = ended(lambda: asked(made, 1), f"prefetch of a source: {kind},")
    expect_equal(given, ["raised TypeError"], what=f"what prefetch of a source gives: {kind}", hint=WAITS)


def test_the_source_may_be_slow():
    """An empty queue is not the end."""
    items = (time.sleep(0.03) or item for item in range(3))
    hint = "wait for the next item, without a limit of time; the end has to be said"
    expect_given(lambda: prefetch(items, 2), [0, 1, 2], "prefetch of a slow source", hint)


def test_the_consumer_may_be_slow():
    """What is ready stays ready."""
    made = ended(lambda: prefetch(iter(range(5)), 2), "prefetch")
    given = ended(lambda: [[*asked(made, 1), time.sleep(0.02)] for _ in range(3)] + asked(made, 9), "a slow loop")
    right = [*([item, None] for item in range(3)), 3, 4, "end"]
    expect_equal(given, right, what="what a slow loop over prefetch gets", hint="the thread waits until there is room")


def test_the_thread_is_a_daemon():
    """Otherwise a program that breaks off in a loop never ends."""

    def run():
        return read(prefetch((threading.current_thread().daemon for _ in range(2)), 9))

    ended(run, "prefetch of two items")  # in a thread that is a daemon; so from this one as well:
    expect_equal(run(), [True, True], what="whether the thread that reads is a daemon", hint="Thread(..., daemon=True)")


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
    return read(shuffle_buffer(range(n), size, rng=rng))


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
