"""Stage 1. Lists as sources: batches, shards, shuffled orders, sources that are read twice, and a thread that reads."""

import random
import threading

import pytest

from dojo.testing import expect, expect_equal, expect_own_work, randint
from katas import iterators
from katas.iterators import Repeatable, batched, prefetch, shard, shuffle_buffer

from .helpers import ended, expect_given, loop, read
from .probe import FORBIDDEN, Source

ALL = "each item is in exactly one place: nothing is lost, repeated or filled in"


def numbers(rng, n):
    """n numbers in a row."""
    first = int(randint(rng, 1, 1000, 1))
    return list(range(first, first + n))


@pytest.mark.parametrize(("size", "n"), [(6, 3), (6, 2), (3, 3), (4, 1)])
def test_batches_hold_n_items_each(rng, size, n):
    """In order, and none of them empty."""
    items = numbers(rng, size)
    right = [items[start : start + n] for start in range(0, size, n)]
    expect_given(lambda: batched(items, n), right, f"batched({items}, {n})", "no batch is empty, also not the last one")


@pytest.mark.parametrize(("size", "n"), [(7, 3), (5, 2), (5, 3), (2, 3)])
def test_the_last_batch_holds_what_is_left_over(rng, size, n):
    """1 to n - 1 items."""
    items = numbers(rng, size)
    right = [items[start : start + n] for start in range(0, size, n)]
    hint = "when the source ends, what has been gathered is the last batch: not lost, not repeated, not filled up"
    expect_given(lambda: batched(items, n), right, f"batched({items}, {n})", hint)


@pytest.mark.parametrize(("size", "n"), [(7, 3), (6, 3), (2, 3), (5, 2), (4, 1)])
def test_drop_last_leaves_out_a_short_batch(rng, size, n):
    """And no whole one."""
    items = numbers(rng, size)
    right = [items[start : start + n] for start in range(0, size - n + 1, n)]
    hint = "only a batch with less than n items is left out"
    expect_given(lambda: batched(items, n, drop_last=True), right, f"batched({items}, {n}, drop_last=True)", hint)


@pytest.mark.parametrize(
    ("size", "index", "count"), [(7, 0, 3), (7, 1, 3), (7, 2, 3), (6, 1, 2), (5, 0, 1), (3, 1, 4), (3, 3, 4)]
)
def test_a_shard_takes_every_count_th_item(rng, size, index, count):
    """Beginning with item number `index`, from 0."""
    items = numbers(rng, size)
    hint = "the items number index, index + count, index + 2 * count, ..., counted from 0"
    expect_given(lambda: shard(items, index, count), items[index::count], f"shard({items}, {index}, {count})", hint)


@pytest.mark.parametrize(("size", "count"), [(7, 3), (6, 3), (2, 3), (9, 4)])
def test_every_item_is_in_one_shard(rng, size, count):
    """Otherwise workers train on an item twice, or nobody does."""
    items = numbers(rng, size)
    parts = [read(shard(items, index, count)) for index in range(count)]
    given = sorted(item for part in parts for item in part)
    expect_equal(given, items, what=f"the items of all {count} shards of {items}, sorted,", hint=ALL)


@pytest.mark.parametrize(("n", "size"), [(7, 1), (7, 3), (7, 7), (4, 9), (50, 5)])
def test_shuffling_keeps_every_item(rng, n, size):
    """Once each, those too that are in the buffer when the source ends."""
    items = numbers(rng, n)
    given = read(shuffle_buffer(items, size, rng=random.Random(items[0])))
    hint = f"{ALL}; what is left in the buffer at the end is given as well"
    expect_equal(
        sorted(given), items, what=f"the sorted items of shuffle_buffer of {n} items with size {size}", hint=hint
    )


def test_a_buffer_of_one_changes_nothing(rng):
    """There is one item to draw from."""
    items = numbers(rng, 6)
    hint = "the buffer holds `size` items when one is drawn, not one more"
    what = f"shuffle_buffer({items}, 1)"
    expect_given(lambda: shuffle_buffer(items, 1, rng=random.Random(0)), items, what, hint)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_no_item_comes_too_early(rng, size):
    """Item i of the output is one of the first i + size."""
    items = numbers(rng, 200)
    given = read(shuffle_buffer(items, size, rng=random.Random(items[0])))
    early = [place for place, item in enumerate(given) if items.index(item) >= place + size]
    sentence = f"item number i of shuffle_buffer with size {size} should be one of the first i + {size} items"
    hint = "draw from `size` items: read the next one only when one was given"
    expect(not early, f"{sentence}, but at i = {(early or [0])[0]} it is not", hint=hint)


@pytest.mark.parametrize("size", [3, 50, 70])
def test_shuffling_changes_the_order(rng, size):
    """The source's order is one of very many."""
    items = numbers(rng, 50)
    given = read(shuffle_buffer(items, size, rng=random.Random(items[0])))
    hint = "draw a random place of the buffer for each item, also when the source has ended"
    expect(
        given != items, f"shuffle_buffer of 50 items with size {size} should shuffle, but keeps the order", hint=hint
    )
    expect(given != items[::-1], f"shuffle_buffer of 50 items with size {size} should shuffle, but reverses", hint=hint)


@pytest.mark.parametrize("size", [2, 5])
def test_the_buffer_is_refilled_item_by_item(rng, size):
    """Otherwise no item leaves its block, and blocks are all that is shuffled."""
    items = numbers(rng, 100)
    given = read(shuffle_buffer(items, size, rng=random.Random(items[0])))
    blocks = all(sorted(given[at : at + size]) == items[at : at + size] for at in range(0, 100, size))
    sentence = (
        f"items should wander through shuffle_buffer with size {size}, but each block of {size} is shuffled alone"
    )
    expect(not blocks, sentence, hint="read a new item for each one that was given")


def test_each_loop_over_a_repeatable_gets_all(rng):
    """A generator would be empty at the second one."""
    items = numbers(rng, 3)
    source = Repeatable(lambda: iter(items))
    hint = "__iter__ calls make anew; an iterator that is made once is used up by the first loop"
    for epoch in ("the first", "the second", "the third"):
        expect_given(lambda: loop(source), items, f"{epoch} loop over a Repeatable of {items}", hint)


def test_loops_over_a_repeatable_can_be_nested(rng):
    """Each loop has its own place."""
    items = numbers(rng, 3)
    hint = "__iter__ returns a new iterator each time: neither self nor one that is kept, or closed, in self"
    for make in (lambda: iter(items), lambda: (item for item in items)):
        source = Repeatable(make)
        pairs = read((a, b) for a in source for b in source)
        expect_equal(pairs, [(a, b) for a in items for b in items], what="the pairs of two nested loops", hint=hint)


def test_a_loop_that_was_left_does_not_matter(rng):
    """The next one begins at the beginning."""
    items = numbers(rng, 4)
    source = Repeatable(lambda: iter(items))
    for item in source:
        if item == items[1]:
            break
    hint = "__iter__ calls make anew, however far the last loop came"
    expect_given(lambda: loop(source), items, "a loop after one that was left in the middle", hint)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_prefetch_gives_the_items_in_order(rng, n, size):
    """All of them, then it ends."""
    items = numbers(rng, n)
    hint = "the thread puts items into a queue, and after them something that says: this was all"
    expect_given(lambda: prefetch(items, size), items, f"prefetch({items}, {size})", hint)


@pytest.mark.parametrize("size", [1, 3])
def test_a_thread_reads_for_prefetch(rng, size):
    """One, and not the one that asks."""
    source = Source(numbers(rng, 5))
    asking = ended(
        lambda: [threading.current_thread(), read(prefetch(source.stream, size))][0], f"prefetch with size {size}"
    )
    hint = "threading.Thread(target=..., daemon=True).start(), with a function that reads the source"
    expect(asking not in source.threads, "a thread should read the source, but the one that asks reads it", hint=hint)
    expect_equal(len(source.threads), 1, what="the number of threads that read the source", hint=hint)


def test_the_stages_make_a_pipeline(rng):
    """Shard, shuffle, batch, prefetch: for each worker and epoch all items of its part."""
    items = numbers(rng, 23)
    draws = random.Random(items[0])
    for index in range(2):
        epochs = Repeatable(
            lambda index=index: prefetch(batched(shuffle_buffer(shard(items, index, 2), 4, rng=draws), 5), 2)
        )
        for _ in range(2):
            batches = ended(lambda epochs=epochs: read(epochs), "a pipeline of all five")
            sizes = [len(batch) for batch in batches]
            expect_equal(sizes, [5, 5, 2 - index], what=f"the batch sizes of worker {index} of 2")
            given = sorted(item for batch in batches for item in batch)
            expect_equal(given, items[index::2], what=f"the items of worker {index} of 2, sorted,", hint=ALL)


def test_the_batches_are_your_own():
    """itertools.batched has the answer."""
    read(batched([1], 1))
    expect_own_work(iterators, FORBIDDEN)
