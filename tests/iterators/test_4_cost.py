"""Stage 4. The items that are held, and how far a thread reads ahead."""

import random

import pytest

from dojo.testing import expect
from katas.iterators import Repeatable, batched, prefetch, shard, shuffle_buffer

from .helpers import ended
from .probe import Source, Thing, soon

HELD = {  # what is called, and how many items it may hold; the loop has one, the source another
    "batched(items, 5)": (lambda items: batched(items, 5), 10),
    "batched(items, 5, drop_last=True)": (lambda items: batched(items, 5, drop_last=True), 10),
    "shard(items, 1, 4)": (lambda items: shard(items, 1, 4), 1),
    "shuffle_buffer(items, 5, rng=rng)": (lambda items: shuffle_buffer(items, 5, rng=random.Random(1)), 6),
    "prefetch(items, 5)": (lambda items: prefetch(items, 5), 6),
    "Repeatable(make)": (lambda items: Repeatable(lambda: items), 1),
}


@pytest.mark.parametrize("name", HELD)
def test_few_items_are_held(name):
    """However long the source is: neither what was given nor what comes later."""
    make, most = HELD[name]
    source = Source(map(Thing, range(120)))

    def run():
        for _ in make(source.stream):
            pass

    ended(run, name)
    sentence = f"{name} should hold at most {most} items, with the loop's and the source's {most + 3}, of 120"
    expect(source.most <= most + 3, f"{sentence}, but {source.most} existed at a time", hint="no list of all, no tee()")


def test_epochs_leave_nothing_behind():
    """What the first loop read is gone in the second."""
    sources = [Source(map(Thing, range(60))) for _ in range(2)]
    left = list(sources)
    repeatable = Repeatable(lambda: left.pop(0).stream)
    for source in sources:
        for _ in repeatable:
            pass
        alive = len(source.things)
        expect(alive <= 1, f"a Repeatable should keep no items, but keeps {alive} after a loop", hint="call make anew")


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("takes", [1, 4])
def test_items_are_read_ahead_of_the_loop(size, takes):
    """`size` of them, while the loop is busy with another."""
    source = Source(iter(int, 1))
    made = prefetch(source.stream, size)
    ended(lambda: [next(made) for _ in range(takes)], "next() of prefetch")
    soon(lambda: source.reads >= takes + size)
    sentence = f"prefetch with size {size} should read {size} items ahead of the {takes} that were asked for"
    hint = "the thread goes on while there is room for another item, without being asked"
    expect(source.reads >= takes + size, f"{sentence}, but read {source.reads} items in all", hint=hint)
    del made


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("takes", [1, 4])
def test_no_more_is_read_ahead(size, takes):
    """Size + 1 at most: a queue without a limit reads the whole source into memory."""
    source = Source(iter(int, 1))
    made = prefetch(source.stream, size)
    ended(lambda: [next(made) for _ in range(takes)], "next() of prefetch")
    soon(lambda: source.reads >= takes + size)
    soon(lambda: source.reads > takes + size + 1, 12)
    sentence = (
        f"prefetch with size {size} should read at most {size + 1} items ahead of the {takes} that were asked for"
    )
    hint = "the queue has room for `size` items, and the thread waits before it reads more: Queue(size), not Queue()"
    expect(source.reads <= takes + size + 1, f"{sentence}, but read {source.reads} items in all", hint=hint)
    del made
