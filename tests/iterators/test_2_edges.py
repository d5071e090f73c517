"""Stage 2. Sources that can be read once, without an end, or of odd items; when is what read; wrong arguments."""

import random
from itertools import count
from types import SimpleNamespace

import pytest

from dojo.testing import expect, expect_equal, expect_raises, randint
from katas.iterators import Repeatable, batched, prefetch, shard, shuffle_buffer

from .helpers import (
    CALLS,
    STAGES,
    SimpleNext,
    each_in_a_list,
    ended,
    expect_given,
    expect_iterator,
    let_go,
    read,
    shown,
)
from .probe import Source, Thing, asked, plain

LAZY = [of for of in STAGES if of not in ("prefetch", "Repeatable")]
stages = pytest.mark.parametrize("of", STAGES)


@stages
def test_the_result_is_an_iterator(of):
    """next() works, and a loop goes on where it is."""
    ended(lambda: expect_iterator(STAGES[of]([1, 2]), CALLS[of]), CALLS[of])


@stages
@pytest.mark.parametrize("n", [0, 1, 5])
def test_sources_may_be_iterators(of, n):
    """They can be read once, have no length and no index."""
    hint = "iter(items) once, then next() or a loop: no len(), no items[i], and no second loop over items"
    what = f"{CALLS[of]} of an iterator with {n} items"
    expect_given(lambda: STAGES[of](Source(range(n)).stream), each_in_a_list(of, range(n)), what, hint)


@stages
def test_sources_may_have_no_end(of):
    """So nobody may read them to the end first."""
    hint = "no list(items), sorted or len: give an item before the next is read"
    right = each_in_a_list(of, range(4))
    expect_given(
        lambda: STAGES[of](Source(count()).stream), right, f"{CALLS[of]} of a source without an end", hint, times=4
    )


@stages
def test_an_empty_source_gives_nothing(of):
    """No empty batch, no error."""
    hint = "inside a generator, next() that meets the end raises RuntimeError: use a loop, islice, or next(iterator, default)"
    expect_given(lambda: STAGES[of]([]), [], f"{CALLS[of]} of an empty list", hint)


@pytest.mark.parametrize("n", [0, 2, 3])
def test_drop_last_of_a_short_source_gives_nothing(n):
    """Fewer items than one batch needs."""
    expect_given(lambda: batched(iter(range(n)), 4, drop_last=True), [], f"batched of {n} items, 4, drop_last=True")


@stages
def test_items_may_be_false_or_none(of):
    """0, "" and None are items: only StopIteration is the end."""
    items = [3, None, 0, "", False, None]
    hint = "ask for the end, not for the truth of an item; if an item marks the end, let it be an object() of your own"
    expect_given(lambda: STAGES[of](items), each_in_a_list(of, items), f"{CALLS[of]} of {items}", hint)


@stages
def test_items_may_equal_everything(of):
    """As arrays, whose == is no answer: the end is an object, and `is` finds it."""
    items = [Thing(), 3, Thing(), 4]
    hint = "no == and no `in` with items: compare with `is`, or put pairs (kind, item) into the queue"
    what = f"{CALLS[of]} of objects that equal everything"
    expect_given(lambda: STAGES[of](items), each_in_a_list(of, map(plain, items)), what, hint)


def test_a_buffer_keeps_items_that_equal_each_other():
    """1, 1.0 and True are equal, and so is to some objects everything."""
    items = [1, 1.0, True, Thing(), Thing()]
    for seed in range(8):
        given = read(shuffle_buffer(items, 4, rng=random.Random(seed)))
        same = sorted(map(id, given)) == sorted(map(id, items))
        sentence = f"shuffle_buffer of {shown(items)} should give each of these objects, but gives {shown(given)}"
        expect(same, sentence, hint="draw a place and not an item: remove(item) takes away what is equal to it")


@stages
def test_exceptions_may_be_items(of):
    """Somebody collects errors, and they pass by."""
    items = [ValueError("an item"), 3, StopIteration("an item"), 4]
    hint = (
        "what tells an error from an item must stand beside it, not in its type: pairs (is_error, value), for example"
    )
    what = f"{CALLS[of]} of a list of exceptions and numbers"
    expect_given(lambda: STAGES[of](items), each_in_a_list(of, map(plain, items)), what, hint)


@stages
def test_items_are_passed_on_themselves(of):
    """The objects, not copies."""
    items = [SimpleNamespace(), [1]]
    given = ended(lambda: read(STAGES[of](items)), CALLS[of])
    given = [batch[0] for batch in given] if of == "batched" else given
    same = len(given) == 2 and all(one is other for one, other in zip(given, items, strict=True))
    expect(same, f"{CALLS[of]} should give the objects of the source, but gives others", hint="no copies")


@stages
def test_the_end_stays_the_end(of):
    """next() raises StopIteration again and again, and never waits."""
    made = ended(lambda: STAGES[of]([1]), CALLS[of])
    given = ended(
        lambda: asked(made, 1) + asked(made, 1) + asked(made, 1) + asked(made, 1), f"next() after {CALLS[of]}"
    )
    expect_equal(given[1:], ["end"] * 3, what=f"what next() gives after the end of {CALLS[of]}, three times,")


@pytest.mark.parametrize("of", ["batched", "shuffle_buffer", "prefetch"])
def test_the_end_stays_the_end_of_a_source_that_goes_on(of):
    """Some do, against the rule: a file that grows, a queue."""
    steps = iter([1, None, 2, None, 3])

    def step():
        item = next(steps, None)
        if item is None:
            raise StopIteration
        return item

    source = SimpleNext(step)
    made = ended(lambda: STAGES[of](source), CALLS[of])
    given = ended(lambda: [asked(made, 1) for _ in range(4)], f"next() after {CALLS[of]}")
    what = f"what next() gives after the end of {CALLS[of]}, three times, where the source goes on,"
    expect_equal(given[1:], [["end"]] * 3, what=what, hint="do not ask a source again that has ended")


@pytest.mark.parametrize(("n", "index", "total"), [(0, 1, 2), (1, 2, 3), (2, 2, 3)])
def test_a_shard_behind_the_end_gives_nothing(n, index, total):
    """No error: the last workers of a short source have nothing to do."""
    what = f"shard({list(range(n))}, {index}, {total})"
    hint = "inside a generator, next() that meets the end raises RuntimeError: use a loop, or islice"
    expect_given(lambda: shard(iter(range(n)), index, total), [], what, hint)


@stages
def test_iterators_do_not_disturb_each_other(of):
    """Two at a time, of two sources."""
    one, two = STAGES[of](iter(range(3))), STAGES[of](iter(range(10, 13)))
    given = ended(lambda: [asked(each, 1)[0] for each in (one, two, two, one, one, two)], f"two of {CALLS[of]}")
    right = each_in_a_list(of, [0, 10, 11, 1, 2, 12])
    expect_equal(
        given, right, what=f"the items of two iterators, {CALLS[of]}, asked in turn", hint="keep no state outside"
    )


@pytest.mark.parametrize("of", LAZY)
def test_nothing_is_read_before_the_first_next(of):
    """A pipeline that nobody asks does nothing."""
    source = Source(count())
    made = STAGES[of](source.stream)
    expect(source.reads == 0, f"{CALLS[of]} should read nothing, but read {source.reads} items", hint="yield")
    del made


def test_make_is_not_called_before_a_loop():
    """Making a Repeatable opens nothing, and each iter() calls make once."""
    calls = []
    source = Repeatable(lambda: calls.append(0) or iter([1, 2]))
    expect_equal(len(calls), 0, what="how often Repeatable(make) calls make", hint="keep make, and call it in __iter__")
    for _ in range(3):
        read(source)
    expect_equal(len(calls), 3, what="how often three loops over a Repeatable call make", hint="once for each loop")


def test_every_loop_gets_what_make_gives_then():
    """New augmentations in each epoch: nothing is kept of the last one."""
    numbers = count()
    source = Repeatable(lambda: iter([next(numbers), next(numbers)]))
    given = [read(source), read(source)]
    expect_equal(given, [[0, 1], [2, 3]], what="two loops, when make gives other items", hint="keep no items")


def test_two_repeatables_share_nothing():
    """Each has its own make."""
    one, two = Repeatable(lambda: iter([1])), Repeatable(lambda: iter([2]))
    expect_equal([read(one), read(two), read(one)], [[1], [2], [1]], what="loops over two Repeatables, the first again")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_batch_reads_its_items_and_no_more(n):
    """After two batches the source goes on at 2 * n."""
    source = Source(count())
    batches = batched(source.stream, n)
    for number in (1, 2):
        next(batches)
        hint = "no look at the item after the batch; zip(items, range(n)) takes one item too many, zip(range(n), items) does not"
        expect_equal(source.reads, number * n, what=f"the items read for {number} batches of {n}", hint=hint)
    expect_equal(next(source.stream), 2 * n, what="the source's next item then", hint="read nothing ahead")


def test_a_shard_reads_up_to_its_item():
    """Not to the end of the row."""
    source = Source(count())
    part = shard(source.stream, 1, 3)
    for number in (0, 1):
        next(part)
        hint = "give an item as soon as it is read"
        expect_equal(
            source.reads, 3 * number + 2, what=f"the items read for {number + 1} of shard(items, 1, 3)", hint=hint
        )


@pytest.mark.parametrize("size", [1, 5])
def test_a_buffer_reads_what_it_holds(size):
    """`size` items for the first, then one for each."""
    source = Source(count())
    shuffled = shuffle_buffer(source.stream, size, rng=random.Random(0))
    for number in range(1, 5):
        next(shuffled)
        sentence = (
            f"{number} items of shuffle_buffer with size {size} should read {size + number - 1} items, or one more"
        )
        good = size + number - 1 <= source.reads <= size + number
        expect(good, f"{sentence}, but read {source.reads}", hint="fill the buffer, then read one item for each given")


@pytest.mark.parametrize("of", LAZY)
def test_who_made_the_source_may_go_on_with_it(of):
    """It is not closed, whether the iterator is dropped, closed or read to its end."""
    source = Source(range(4))
    made = STAGES[of](source.stream)
    next(made)
    getattr(made, "close", int)()
    del made
    expect(
        not source.over, f"{CALLS[of]} should not close the source, but did when it was dropped", hint="close nothing"
    )
    following = next(source.stream)
    ahead = of == "shuffle_buffer"  # which may read one item more
    sentence = (
        f"the next item of a source of which {CALLS[of]} gave one should be 1{' or 2' * ahead}, but is {following}"
    )
    expect(1 <= following <= 1 + ahead, sentence, hint="read nothing ahead")


@pytest.mark.parametrize("of", LAZY)
def test_a_source_is_not_kept_alive(of):
    """A dropped iterator lets go of its source, whose `finally` then runs."""
    source = Source(range(4))
    made = STAGES[of](source.stream)
    next(made)
    source.stream = None
    del made
    expect(let_go(source), f"a dropped {CALLS[of]} should let go of its source, but keeps it", hint="no global")


def test_batches_are_lists_of_their_own():
    """What is done to one shows in no other."""
    batches = batched(iter(range(5)), 2)
    first = next(batches)
    expect(type(first) is list, f"a batch should be a list, but is a {type(first).__name__}", hint="list(...)")
    second = next(batches)
    expect_equal(
        first, [0, 1], what="the first batch, after the second was given", hint="a new list for each, no clear()"
    )
    second.clear()
    first.append(9)
    expect_equal(next(batches), [4], what="the third batch, after the others were changed", hint="keep no batch")


WRONG = {
    "batched(items, 0)": lambda items: batched(items, 0),
    "batched(items, -1, drop_last=True)": lambda items: batched(items, -1, drop_last=True),
    "shard(items, -1, 3)": lambda items: shard(items, -1, 3),
    "shard(items, 3, 3)": lambda items: shard(items, 3, 3),
    "shard(items, 5, 3)": lambda items: shard(items, 5, 3),
    "shard(items, 0, 0)": lambda items: shard(items, 0, 0),
    "shard(items, -3, -2)": lambda items: shard(items, -3, -2),
    "shuffle_buffer(items, 0)": lambda items: shuffle_buffer(items, 0, rng=random.Random(0)),
    "shuffle_buffer(items, -2)": lambda items: shuffle_buffer(items, -2, rng=random.Random(0)),
    "prefetch(items, 0)": lambda items: prefetch(items, 0),
    "prefetch(items, -1)": lambda items: prefetch(items, -1),
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments_raise_value_error_at_the_call(rng, call):
    """There the mistake is, and not in the loop that comes much later."""
    items = randint(rng, 0, 9, 4).tolist()
    hint = "a function with a yield runs nothing when it is called: check in a function without, and let it return another's result"
    with expect_raises(ValueError, what=call, hint=hint):
        WRONG[call](items)
