"""What can be seen of decorators: which calls run the function, what comes out, what waits between, what is freed."""

import gc
import inspect
import traceback
import weakref

from dojo.testing import Wrong, randint, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case


class Twin(int):
    """All look the same."""

    def __repr__(self):
        return "twin"

    __str__ = __repr__


FORBIDDEN = ("functools.lru_cache", "functools.cache", "functools._lru_cache_wrapper")
V, K, L = ValueError, KeyError, LookupError
ERRORS = {"v": V, "k": K, "l": L, "t": TypeError, "i": KeyboardInterrupt, "s": SystemExit}
RETRY = {  # outcomes of the function's calls, times, exceptions, how often the decorated one is called
    "success": ("r", 3, (V,), 1), "one failure": ("vr", 3, (V,), 1), "two failures": ("vvr", 4, (V,), 1),
    "last try": ("vvr", 3, (V,), 1), "failures": ("vvvvv", 3, (V,), 1), "once": ("vvv", 1, (V,), 1),
    "once, success": ("r", 1, (V,), 1), "six": ("vvvvvr", 7, (V,), 1), "not listed": ("kr", 3, (V,), 1), "none": ("vr", 3, (), 1),
    "not listed later": ("vkr", 4, (V,), 1), "second listed": ("kr", 3, (V, K), 1), "first listed": ("vr", 3, (V, K), 1),
    "subclass": ("kr", 3, (L,), 1), "base": ("lr", 3, (K,), 1), "default": ("kr", 3, None, 1), "Ctrl-C": ("ir", 3, None, 1),
    "exit": ("sr", 3, None, 1), "None": ("nr", 3, (V,), 1), "zero": ("0r", 3, (V,), 1), "again": ("vvrvvr", 3, (V,), 2),
    "again at once": ("vrr", 3, (V,), 2), "after failures": ("vvvr", 2, (V,), 2),
}  # fmt: skip
MANY = "".join(map(chr, range(200, 500)))
RUNS = {  # size of the cache, calls: "!" raises, "-" is cache_clear()
    "repeated": (4, "AA"), "order": (2, "ABACAB"), "full": (3, "ABCABC"), "over": (2, "ABCA"), "newest": (2, "ABCC"),
    "second": (3, "ABCDC"), "often": (2, "AAABCA"), "long": (3, "ABCBADCAB"), "one": (1, "AABA"), "none": (0, "AA"),
    "big": (9, "ABCDEA"), "default": (128, MANY[:128] + MANY[0]), "default over": (128, MANY[:129] + MANY[0]),
    "unlimited": (None, MANY * 2), "clear": (4, "A-A"), "raises": (2, "AB!AB"), "raises often": (3, "AB!!!AB"),
}  # fmt: skip
INFOS = {  # size, calls: looked at after them
    "new": (3, ""), "miss": (3, "A"), "hit": (3, "AA"), "mixed": (5, "AABAC"), "evicted": (2, "ABCD"), "again": (2, "ABCA"),
    "no limit": (None, "ABA"), "no room": (0, "AAB"), "raises": (3, "A!!"), "cleared": (3, "AAB-"), "default": (128, "A"),
}  # fmt: skip
PAIRS = {  # two calls that differ
    "value": ([1], {}, [2], {}), "second": ([1, 2], {}, [1, 3], {}), "count": ([1], {}, [1, 2], {}), "order": ([1, 2], {}, [2, 1], {}),
    "twice": ([1, 1], {}, [1], {}), "tuple": ([1, 2], {}, [(1, 2)], {}), "one tuple": ([1], {}, [(1,)], {}), "nothing": ([], {}, [None], {}),
    "empty": ([], {}, [()], {}), "text": ([1], {}, ["1"], {}), "joined": (["a", "b"], {}, ["ab"], {}), "hash": ([-1], {}, [-2], {}),
    "keyword": ([], {"k": 1}, [], {"k": 2}), "name": ([], {"a": 1}, [], {"b": 1}), "exchanged": ([], {"a": 1, "b": 2}, [], {"a": 2, "b": 1}),
    "beside": ([1], {"k": 2}, [1], {}), "pair": ([1], {"k": 2}, [1, ("k", 2)], {}), "flat": ([1], {"k": 2}, [1, "k", 2], {}),
    "pairs": ([], {"k": 2}, [(("k", 2),)], {}), "look": ([Twin(1)], {}, [Twin(2)], {}),
}  # fmt: skip
EQUAL = {"__eq__": lambda a, b: True}
KINDS = {"Same": EQUAL, "SameHash": {**EQUAL, "__hash__": lambda a: 0}, "Plain": {}}
KINDS |= {"Slotted": {"__slots__": ("__dict__",)}, "Frozen": {"__setattr__": lambda *_: 1 / 0}}
ONCE = {  # cases without a table, for each function
    "retry": "method functions arguments keywords traceback thousands backoff delays",
    "lru_cache": "method keywords functions others recursion size inner freed key cleared attributes hashes",
    "cached_method": "instances methods super address class subclass gone collected slots hashes",
}  # fmt: skip
BOTH = [
    "raises v", "raises k", "raises t", "after v", "list", "dict", "keyword list", "equal", "equal keyword", "returns n", "returns 0", "object",
]  # fmt: skip
NAMES = (
    "times",
    "exceptions",
    "delay",
    "backoff",
    "sleep",
    "wait",
    "function",
    "func",
    "fn",
    "maxsize",
    "key",
    "cache",
)
KEYWORDS = dict.fromkeys((*NAMES, "args", "kwargs"), 1)
LOOKS = ("__name__", "__qualname__", "__doc__", "__module__", "version", "__wrapped__", "signature")
WRONG = {
    "times=0": ("times", 0),
    "times=-1": ("times", -1),
    "delay=-1": ("delay", -1.0),
    "backoff=-1": ("backoff", -1.0),
}
TABLES = ("at", "runs", "info", "pair", "look", "wrong", "both", "kind", "once")


def cases(rng):
    def drawn():
        return {"number": int(randint(rng, 1, 10**9, 1)), "delay": 0.001 / (1 + float(randn(rng, 1)) ** 2)}

    for name in RETRY:
        for shown in ("calls", "waits", "end"):
            yield Case(f"{name}: {shown}", of="retry", at=name, show=shown, **drawn())
    for of, names in ONCE.items():
        yield from (Case(f"{of}: {name}", of=of, once=name, **drawn()) for name in [*names.split(), "decorating"])
        yield from (Case(f"{of}: looks like {name}", of=of, look=name) for name in LOOKS)
        if of != "retry":
            yield from (Case(f"{of}: {name}", of=of, both=name, **drawn()) for name in BOTH)
            yield from (Case(f"{of}: differs in {name}", of=of, pair=name, **drawn()) for name in PAIRS)
    yield from (Case(f"instances: {name}", of="cached_method", kind=name, **drawn()) for name in KINDS)
    yield from (Case(f"runs: {name}", of="lru_cache", runs=name, **drawn()) for name in RUNS)
    for name in INFOS:
        fields = ("hits", "misses", "maxsize", "currsize")
        yield from (Case(f"info: {name}, {field}", of="lru_cache", info=name, field=field) for field in fields)
    yield from (Case(f"wrong {name}", of="retry", wrong=name) for name in WRONG)
    yield Case("wrong size", of="lru_cache", wrong="size")


def run(kata, case):
    kind = next(key for key in TABLES if hasattr(case, key))
    gc.freeze()  # so that a collection has little to look at
    try:
        return {"evidence": globals()[f"see_{kind}"](kata, case, getattr(case, kind))}
    finally:
        gc.unfreeze()


def ending(call, errors=()):
    """What came out: the result, or which of the errors."""
    try:
        result = call()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return ["raised", next((number for number, own in enumerate(errors) if own is error), "another")]
    return ["returned", result if isinstance(result, int | str | list | None) else type(result).__name__]


def planned(plan, number):
    """(function, calls, errors): each call does what its letter says, later ones return -1."""
    calls, results, errors = [], {"r": number, "n": None, "0": 0}, [ERRORS.get(letter, V)(letter) for letter in plan]

    def function(*args, **kwargs):
        calls.append([list(args), kwargs])
        letter = plan[len(calls) - 1 : len(calls)]
        if letter in ERRORS:
            raise errors[len(calls) - 1]
        return results.get(letter, -1)

    return function, calls, errors


def keeping(kata, of, function):
    if of == "lru_cache":
        return kata.lru_cache(8)(function)
    return type("Holder", (), {"m": kata.cached_method(lambda self, /, *args, **kwargs: function(*args, **kwargs))})().m


def see_at(kata, case, name):
    plan, times, listed, count = RETRY[name]
    (function, calls, errors), waits = planned(plan, case.number), []
    options = {} if listed is None else {"exceptions": listed}
    decorate = kata.retry(times, delay=case.delay, sleep=waits.append, **options)
    made = []
    ends = [ending(lambda: made.append(decorate(function)))]
    ends += [ending(wrapper, errors) for wrapper in made * count]
    return {"calls": len(calls), "waits": [float(wait) for wait in waits if wait], "end": ends[-1]}[case.show]


def played(kata, size, keys, number=0):
    """(function, which calls ran it)"""
    ran = []

    def function(key):
        ran.append(key)
        return number if key != "!" else [][0]

    wrapper = (kata.lru_cache() if size == 128 else kata.lru_cache(size))(function)
    seen = ""
    for key in keys:
        ran.clear()
        wrapper.cache_clear() if key == "-" else ending(lambda key=key: wrapper(key))
        seen += key if ran or key == "-" else "."
    return wrapper, seen


def see_runs(kata, case, name):
    return played(kata, *RUNS[name], case.number)[1]


def see_info(kata, case, name):
    return getattr(played(kata, *INFOS[name])[0].cache_info(), case.field)


def see_pair(kata, case, name):
    def function(*args, **kwargs):
        return f"{args} {sorted(kwargs.items())} {sum(isinstance(a, int) and a for a in args) + case.number}"

    function = keeping(kata, case.of, function)
    one, first, two, second = PAIRS[name]
    return [ending(lambda: function(*one, **first)), ending(lambda: function(*two, **second))]


def subject(self, number: int, *rest: float, scale: float = 1.5, **options: str) -> str:
    """Text."""


subject.version = 3


def decorated(kata, of, function):
    return (kata.cached_method if of == "cached_method" else getattr(kata, of)(3))(function)


def see_look(kata, case, name):
    wrapper = type("Holder", (), {"m": decorated(kata, case.of, subject)}).m
    if name == "signature":
        return str(inspect.signature(wrapper)) == str(inspect.signature(subject))
    return getattr(wrapper, name, None) == (subject if name == "__wrapped__" else getattr(subject, name))


def see_wrong(kata, case, name):
    function, _, _ = planned("r", 1)
    options = {"times": 3} | dict([WRONG.get(name, ("times", 3))])
    try:
        function = (kata.lru_cache(-1) if name == "size" else kata.retry(**options))(function)
    except ValueError:
        return "refused"
    return ["not refused", ending(function)[0]]


def see_both(kata, case, name):
    """What both caches do."""
    does, _, plan = name.partition(" ")
    if does in ("raises", "after", "returns"):
        function, calls, errors = planned(plan + "rr", case.number)
        function = keeping(kata, case.of, function)
        ends = [ending(lambda: function(1), errors) for _ in range(2)]
        return [ends[0], len(calls)] if does == "returns" else ends[does == "after"]
    function, calls, _ = planned("rrrr", case.number)
    function = keeping(kata, case.of, function)
    if name in ("list", "dict", "keyword list"):
        arguments = {"list": (([1],), {}), "dict": (({},), {}), "keyword list": ((1,), {"k": [1]})}[name]
        try:
            function(*arguments[0], **arguments[1])
        except TypeError:
            return ["TypeError", len(calls)]
        return ["returned", len(calls)]
    if name == "object":
        function = keeping(kata, case.of, lambda x: [x])
        return function(1) is function(1)
    for _ in range(2):
        key = (case.number, f"{case.number} made anew")
        function(key) if does == "equal" and not plan else function(1, k=key)
    return len(calls)


def see_kind(kata, case, name):
    """Two instances with the same argument, twice each; and how often the method ran."""
    ran = []
    made = kata.cached_method(lambda self, x: ran.append(0) or self.__dict__["number"] + x)
    kind = type(name, (), {"m": made, **KINDS[name]})
    instances = [kind(), kind()]
    for number, instance in enumerate(instances):
        instance.__dict__["number"] = case.number + number
    return [[ending(lambda instance=instance: instance.m(5)) for instance in instances * 2], len(ran)]


def see_once(kata, case, name):
    if name == "decorating":
        function, calls, _ = planned("", 0)
        decorated(kata, case.of, function)
        return len(calls)
    return globals()[f"once_{case.of}"](kata, case, name)


class Key:
    work = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        Key.work += 1
        return self.number

    def __eq__(self, other):
        Key.work += 1
        return self.number == other.number


class Thing:
    pass


def lean(kata, function):
    """Whether a call among many takes little work."""
    keys = [Key(number) for number in range(300)]
    keys += keys[::-1]
    Key.work = 0
    try:
        expect_lines(lambda: [function(key) for key in keys], kata, 60 * len(keys), what="")
    except Wrong:
        return False
    return Key.work <= 24 * len(keys)


def bound(decorate, number):
    kind = type("Holder", (), {"m": decorate(lambda self, x: self.number + x), "number": number})
    return [ending(lambda: kind().m(5)), ending(lambda: kind.m(kind(), 5))]


def once_retry(kata, case, name):
    waits, decorate = [], kata.retry(3, (V,), sleep=(lambda _: None))
    function, calls, errors = planned("vr", case.number)
    if name == "method":
        return bound(decorate, case.number)
    if name == "functions":
        decorate = kata.retry(3, (V,), delay=case.delay, sleep=waits.append)
        ends = [ending(decorate(planned("vvr", case.number + n)[0])) for n in (0, 1)]
        return [*ends, [float(wait) for wait in waits]]
    if name == "arguments":
        return [ending(lambda: decorate(function)(1, case.number, k=2), errors), calls]
    if name == "keywords":
        ending(lambda: decorate(function)(**KEYWORDS))
        return [len(keywords) == len(KEYWORDS) for _, keywords in calls[:1]]
    if name == "traceback":

        def culprit():
            calls.append(0)
            if len(calls) < 40:
                raise V

        try:
            kata.retry(2, sleep=waits.append)(culprit)()
        except V as error:
            return "culprit" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if name == "thousands":
        function, calls, errors = planned("v" * 1500, 0)
        end = ending(kata.retry(1500, sleep=waits.append)(function), errors)
        return [end, len(calls), [float(wait) for wait in waits if wait]]
    arguments = {"backoff": {"delay": case.delay, "backoff": 3.0}, "delays": {}}[name]
    end = ending(kata.retry(4, sleep=waits.append, **arguments)(planned("vvvr", case.number)[0]))
    return [end, [float(wait) for wait in waits if wait]]


def once_lru_cache(kata, case, name):
    number, sizes, ran = case.number, [], []
    if name == "method":
        return bound(kata.lru_cache(4), number)
    if name == "keywords":
        return ending(lambda: kata.lru_cache(4)(lambda **kwargs: len(kwargs))(**KEYWORDS))
    if name in ("functions", "others"):
        decorate = kata.lru_cache(4)
        one = decorate(lambda x: number)
        two = (decorate if name == "functions" else kata.lru_cache(4))(lambda x: number + 1)
        return [ending(lambda: one(1)), ending(lambda: two(1)), *two.cache_info()]
    if name in ("recursion", "size"):

        def inner(n):
            sizes.append(wrapper.cache_info().currsize)
            return number if n < 2 else wrapper(n - 1) + (wrapper(n - 2) if name == "recursion" else 0)

        wrapper = kata.lru_cache(None if name == "recursion" else 3)(inner)
        end = ending(lambda: wrapper(12))
        sizes.append(wrapper.cache_info().currsize)
        return [end, *wrapper.cache_info()] if name == "recursion" else max(sizes) <= 3
    if name == "inner":

        def again(key):
            ran.append(key)
            return wrapper(key) if ran == ["A", "B"] else number

        wrapper = kata.lru_cache(2)(again)
        return [ending(lambda key=key: wrapper(key)) for key in "ABAB"] + [len(ran)]
    if name == "attributes":
        wrapper = kata.lru_cache(4)(lambda x: number)
        return [callable(getattr(wrapper, name, None)) for name in ("cache_info", "cache_clear")]
    if name == "hashes":
        return [lean(kata, kata.lru_cache(size)(lambda key: 0)) for size in (200, 400)]
    things = [Thing() for _ in range(3)]
    references = list(map(weakref.ref, things))
    wrapper = kata.lru_cache(2)(lambda key: things.pop() if name != "key" else 0)
    for number in range(3):
        wrapper(number if name != "key" else things.pop())
    if name == "cleared":
        wrapper.cache_clear()
    gc.collect()
    return sum(reference() is not None for reference in references)


def once_cached_method(kata, case, name):
    cached, number = kata.cached_method, case.number

    def m(self, x):
        return self.number + x

    def n(self, x):
        return -x

    kind = type("Holder", (), {"m": cached(m), "n": cached(n), "number": number})
    if name == "instances":
        one, two = kind(), kind()
        two.number = number + 1
        return [ending(lambda one=one: one.m(5)) for one in (one, two, one, two)]
    if name == "methods":
        one = kind()
        return [ending(lambda: one.m(5)), ending(lambda: one.n(5)), ending(lambda: one.m(5))]
    if name in ("super", "subclass"):

        def under_m(self, x):
            return 2 * super(under, self).m(x)

        under_m.__name__ = "m"
        under = type("Under", (kind,), {"m": cached(under_m)} if name == "super" else {})
        one, two = under(), under()
        two.number = number + 1
        return [ending(lambda one=one: one.m(5)) for one in (one, two, one)] + [ending(lambda: kind.m(one, 5))]
    if name == "class":
        one = kind()
        return [ending(lambda: kind.m(one, 5)), ending(lambda: one.m(5))]
    if name == "address":
        ends = []
        for turn in range(20):
            one = kind()
            one.__dict__["number"] = number + turn
            ends.append(ending(lambda one=one: one.m(5)))
            del one
        return ends
    if name == "hashes":
        return lean(kata, type("Holder", (), {"m": cached(lambda self, key: 0)})().m)
    slots = {"__slots__": ("__dict__",)} if name == "slots" else {}
    one = type("Held", (), {"m": cached(lambda self, x: 0), **slots})()
    one.held = Thing()
    reference = weakref.ref(one.held)
    gc.disable()
    try:
        end = ending(lambda: one.m(1))
        del one
        if name == "collected":
            gc.collect()
        return [end, reference() is None]
    finally:
        gc.enable()
