"""What can be seen of iterators: what they give, what was read and is held by then, and what their threads do."""

import gc
import queue
import random
import threading
import time
import weakref
from concurrent.futures import Future
from itertools import count, islice, permutations

import torch

from dojo.testing import randint
from dojo.testing.probes import Case, Draws

FORBIDDEN = ("itertools.batched",)
STEP_S, SOON, END, TOO_FAR, BLOCKED = 0.005, 40, 70, 300, "blocked"  # SOON and END: how often a waiting thread wakes
OF_ALL = {  # arguments that change nothing / items / steps, which stand in `run`
    "list": "/list/all", "one-shot": "/4/all", "empty": "/0/all", "odd": "/odd/all", "things": "/things/all", "itself": "/4/self",
    "together": "/4/2 other 2 swap 1 swap 1", "endless": "/endless/3", "fails": "/KeyError/fails", "held": "/held/held", "ended": "/4/all 1 1",
}  # fmt: skip
WRONG = {"wrong 0": "0/4/wrong", "wrong -1": "-1/4/wrong"}
OWN = {
    "batched": {f"{size} by {by}": f"{by}/{size}/all" for size, by in ((5, 2), (2, 2), (7, 3), (6, 3), (3, 3), (2, 3))}
    | {f"{size} by {by}, whole": f"{by} whole/{size}/all" for size, by in ((5, 2), (7, 3), (6, 3), (2, 3))}
    | {"fails then": "3/KeyError/1", "kind": "2/4/kind", "anew": "2/4/keep", "further": "2/4/1 source", "open": "2/4/1 drop on", "before": "/endless/reads"} | WRONG,
    "shard": {f"{index} of {by}": f"{by} {index}/7/all" for index, by in ((0, 3), (1, 3), (2, 3), (1, 2), (3, 4), (8, 9))}
    | {"fails then": "/KeyError/3", "further": "3/4/1 source", "open": "/4/1 drop on", "before": "/endless/reads"} | {f"wrong {i}": f"{i}/4/wrong" for i in ("2 -1", "2 2", "2 5", "0 0", "-2 -3")},
    "shuffle_buffer": {f"{size} in {by}": f"{by}/{size}/orders" for size, by in ((3, 2), (3, 3), (4, 2), (4, 3))}
    | {"items": "3/7/sorted", "short": "9/4/sorted", "read": "5/endless/read", "near": "4/endless/near", "seeded": "5/4/seeded", "passes": "5/4/passes",
       "global": "3/4/global", "fails then": "2/KeyError/early", "open": "/4/1 drop on", "before": "/endless/reads"} | WRONG,
    "Repeatable": {"two": "/list/all again all", "broken": "/list/1 again all", "nested": "/list/1 again all swap all", "made": "/fresh/all again all", "others": "/list/others all again all"},
    "prefetch": {"size 9": "9/4/all", "size 3": "3/4/all", "slow": "2/slow/all", "threads": "2/4/all threads", "daemon": "9/daemon/all",
        "enough": "3/endless/1 enough", "no more": "3/endless/2 full more", "late": "9/KeyError/rest 1", "no iterable": "2/nothing/1", "ends": "2/4/all left", "ends then": "2/4/all close 1 1", "raised then": "2/KeyError/3 1 1", "folder": "2/folder/1 full close over shut"}
    | {f"raises {name}": f"2/{name}/3" for name in ("KeyError", "Thing", "Empty", "Full")} | {f"{how}: {see}": f"2/endless/{how} {see}" for how in ("1 full close", "1 full close close", "close") for see in ("left", "over", "1 1")}
    | {f"1 full drop: {see}": f"2/endless/1 full drop {see}" for see in ("left", "over")} | WRONG,
}  # fmt: skip
ODD = {"__hash__": BaseException.__hash__, "__eq__": lambda self, other: True, "__bool__": lambda self: False}
Thing = type("Thing", (BaseException,), ODD)  # false, equal to everything, and no Exception


class Source:
    """Notes how many items its `stream` gave, to which threads, how many Things existed at a time, and that it is over."""

    def __init__(self, items, error=None):
        self.items, self.error, self.reads, self.most, self.over = items, error, 0, 0, False
        self.threads, self.things, self.stream = set(), weakref.WeakSet(), self._give()

    def _give(self):
        try:
            for item in islice(self.items, TOO_FAR):
                self.reads += 1
                self.threads.add(threading.current_thread())
                self.things |= {item} if isinstance(item, Thing) else set()
                self.most = max(self.most, len(self.things))
                yield item
            if self.error is not None or self.reads == TOO_FAR:
                raise OverflowError("it is read on and on") if self.error is None else self.error
        finally:
            self.over = True

    def is_left(self):
        return not any(thread.is_alive() for thread in self.threads - {threading.current_thread()})


def soon(condition, rounds=SOON):
    return any(condition() or time.sleep(STEP_S if number > 9 else STEP_S / 25) for number in range(rounds))


def within(call):
    """What call() returns or raises in a thread of its own; BLOCKED if it does not end."""
    future = Future()

    def work():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result() if soon(future.done, END) else BLOCKED


def plain(item):
    known = isinstance(item, int | str | None)
    return [*map(plain, item)] if isinstance(item, list | tuple) else item if known else type(item).__name__


def asked(iterator, times=9, error=None):
    """What so many next() give: items, "end", or what was raised."""
    given = []
    while len(given) < times and given[-1:] != ["end"]:
        try:
            given.append(plain(next(iterator)))
        except NotImplementedError:
            raise
        except BaseException as raised:
            kind = "end" if isinstance(raised, StopIteration) else f"raised {type(raised).__name__}"
            given.append("raised itself" if raised is error else kind)
    return given


def cases(rng):
    for of in OWN:
        for see, how in (OF_ALL | OWN[of]).items():
            yield Case(f"{of}: {see}", of=of, how=how, n=int(randint(rng, 1, 10**9, 1)))


def run(kata, case):
    given = (kata, case.of, case.n, *case.how.split("/"))
    seen = within(lambda: look(*given)) if case.of == "prefetch" else look(*given)  # the others have no threads
    return {"seen": look(*given) if "daemon" in case.how and seen != BLOCKED else seen}  # a daemon starts daemons


def look(kata, of, n, arguments, kind, steps):
    numbers, rng = list(range(n, n + 9)), random.Random(n)
    errors = {"KeyError": KeyError(), "Thing": Thing(), "Empty": queue.Empty(), "Full": queue.Full()}
    items = {
        "odd": [n, None, 0, "", False], "things": [Thing(), ValueError(), n], "endless": count(n), "folder": count(n), "held": map(Thing, range(40)), "fresh": [],
        "slow": (time.sleep(0.02) or number for number in numbers[:2]), "daemon": (threading.current_thread().daemon for _ in numbers[:2]),
    }.get(kind, numbers[: int(kind) if kind.isdigit() else 2])  # fmt: skip
    source, takes = Source(items, errors.get(kind)), sum(int(step) for step in steps.split() if step.isdigit())
    folder = type(
        "Folder", (), {"__iter__": lambda self: source.stream, "close": lambda self: setattr(source, "most", -1)}
    )
    given = {"list": items, "fresh": items, "nothing": 5, "folder": folder()}.get(kind, source.stream)
    sizes = [int(argument) for argument in arguments.split() if argument != "whole"]
    size, index = [*sizes, *(1, 0)[len(sizes) :]]
    fresh = of == "Repeatable" and kata.Repeatable(
        lambda: iter(items.append(n) or [*items] if kind == "fresh" else given)
    )
    make = {
        "batched": lambda items: kata.batched(items, size, drop_last="whole" in arguments), "shard": lambda items: kata.shard(items, index, size),
        "shuffle_buffer": lambda items: kata.shuffle_buffer(items, size, rng=rng), "prefetch": lambda items: kata.prefetch(items, size), "Repeatable": lambda items: iter(fresh),
    }[of]  # fmt: skip
    made = [make(given) if kind != "nothing" else (item for _ in "1" for item in make(given))]
    does = {
        "all": lambda: asked(made[0], 9, source.error), "self": lambda: iter(made[0]) is made[0], "kind": lambda: [type(batch).__name__ for batch in [*islice(made[0], 99)]],
        "keep": lambda: plain([*islice(made[0], 99)]), "sorted": lambda: sorted([*islice(made[0], 99)]), "source": lambda: asked(source.stream, 1), "reads": lambda: source.reads, "on": lambda: not source.over, "early": lambda: "raised itself" in asked(made[0], 2, source.error), "fails": lambda: "raised itself" in asked(made[0], 3, source.error),
        "read": lambda: asked(made[0], 2) and source.reads <= 2 + size, "held": lambda: any(False for _ in islice(made[0], 99)) or source.most <= 6, "close": lambda: made[0].close(),
        "drop": lambda: [made.clear(), gc.collect(1)][0], "swap": made.reverse, "wrong": lambda: "raised ValueError" in asked(made[0], 1), "shut": lambda: source.most, "other": lambda: made.insert(0, make(numbers[4:])),
        "again": lambda: made.insert(0, make(given)), "others": lambda: kata.Repeatable(lambda: iter([0])) and None, "enough": lambda: soon(lambda: source.reads >= takes + size), "full": lambda: [soon(lambda: source.reads >= takes + size)].clear(),
        "more": lambda: soon(lambda: source.reads > takes + size + 1, 12), "rest": lambda: soon(source.is_left), "left": lambda: soon(source.is_left),
        "threads": lambda: len(source.threads - {threading.current_thread()}), "over": lambda: not soon(source.is_left) or source.over or not source.reads,
        "global": lambda: [random.getstate(), [*islice(make(numbers), 99)]][0] == random.getstate(), "near": lambda: max(item - n - place for place, item in zip(range(90), made[0], strict=False)) < size,
        "seeded": lambda: [*islice(make(numbers * 9), 99)] == [rng.seed(n), [*islice(make(numbers * 9), 99)]][1], "passes": lambda: [*islice(make(numbers * 9), 99)] == [*islice(make(numbers * 9), 99)],
        "orders": lambda: (places := dict(zip(permutations(items), range(24), strict=False))) and Draws(torch.tensor([places.get((*islice(make(items), 99),), 0) for _ in range(900)]), len(places)),
    }  # fmt: skip
    return [does[step]() if step in does else asked(made[0], int(step), source.error) for step in steps.split()]
