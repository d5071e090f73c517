"""The functions with arguments that change nothing, and checks of what an iterator gives."""

import gc
import random
from itertools import islice

from dojo.testing import Wrong, expect
from dojo.testing.describe import describe
from katas import iterators

from .probe import BLOCKED, asked, soon, within

STAGES = {  # with a size of 1, each passes on what it gets; batched in lists
    "batched": lambda items: iterators.batched(items, 1),
    "shard": lambda items: iterators.shard(items, 0, 1),
    "shuffle_buffer": lambda items: iterators.shuffle_buffer(items, 1, rng=random.Random(0)),
    "prefetch": lambda items: iterators.prefetch(items, 1),
    "Repeatable": lambda items: loop(iterators.Repeatable(lambda: iter(items))),
}
CALLS = {
    "batched": "batched(items, 1)",
    "shard": "shard(items, 0, 1)",
    "shuffle_buffer": "shuffle_buffer(items, 1, rng=rng)",
    "prefetch": "prefetch(items, 1)",
    "Repeatable": "iter(Repeatable(lambda: iter(items)))",
}
WAITS = "every way out of the thread has to say so to those who wait: put the end, or the exception, into the queue"


class SimpleNext:
    """An iterator whose next() calls a function."""

    def __init__(self, step):
        self.step = step

    def __iter__(self):
        return self

    def __next__(self):
        return self.step()


def loop(repeatable):
    """What a loop over it asks."""
    made = repeatable.__iter__()
    sentence = f"__iter__ of a Repeatable should return an iterator, but returns {describe(made)}"
    expect(hasattr(made, "__next__"), sentence, hint="return what make() gives")
    return made


def read(iterator):
    """Its items, at most 999 of them."""
    return list(islice(iterator, 999))


def each_in_a_list(of, items):
    """What this function makes of items, with size 1."""
    return [[item] for item in items] if of == "batched" else list(items)


def ended(call, what, hint=WAITS):
    """What call() returns. It must end, also if it waits for a thread."""
    alone = "prefetch" not in what and any(name in what for name in STAGES)  # then there are no threads
    result = call() if alone else within(call)
    expect(result is not BLOCKED, f"{what} should end, but waits for ever", hint=hint)
    return result


def expect_given(make, expected, what, hint="", *, times=None, error=None):
    """What next() gives, of the iterator that make() returns: these items, then the end.

    With `times`, that many next() and no more are asked for.
    """
    right = list(expected) if times else [*expected, "end"]
    given = ended(lambda: asked(make(), times or len(right) + 1, error), what, hint or WAITS)
    if given != right:
        raise Wrong(f"{what} should give {shown(right)}, but gives {shown(given)}", hint=hint)


def shown(given):
    """Items, and the end once."""
    given = given[:-1] if given[-1:] == ["end"] and len(given) > 1 else given
    return "nothing" if given == ["end"] else ", ".join(map(str, given)) or "nothing"


def expect_iterator(made, what):
    """It can be asked with next(), and iter() of it is the object itself."""
    good = hasattr(made, "__next__") and iter(made) is made
    expect(
        good, f"{what} should be an iterator, but is {describe(made)}", hint="a call of a function with yield gives one"
    )


def let_go(source):
    """Whether a source whose iterator was dropped ends its generator."""
    collect()
    return soon(lambda: source.over)


def collect():
    """Somebody's class may refer to itself in a circle."""
    gc.collect(1)
