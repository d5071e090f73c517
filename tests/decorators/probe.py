"""What can be seen of decorators: which calls run the function, what comes out, what waits between, what is freed."""

import gc
import traceback
import weakref
from functools import partial

from dojo.testing import randint, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case


class Key(float):
    work = 0  # how often one is hashed or compared; and all look the same

    def __hash__(self):
        Key.work += 1
        return int(self)

    def __eq__(self, other):
        Key.work += 1
        return float(self) == float(other)

    def __repr__(self):
        return "key"


FORBIDDEN = ("functools.lru_cache", "functools.cache", "functools._lru_cache_wrapper")
ERRORS = {"v": ValueError, "k": KeyError, "l": LookupError, "t": TypeError, "i": KeyboardInterrupt, "s": SystemExit}
RETRY = {  # outcomes of the function's calls, times, exceptions ("*": not given), which decorated functions are called
    "success": "r 3 v", "one failure": "vr 3 v", "two failures": "vvr 4 v", "last try": "vvr 3 v", "failures": "vvvvv 3 v", "once": "vvv 1 v",
    "not listed": "kr 3 v", "none": "vr 3 ()", "not listed later": "vkr 4 v", "second listed": "kr 3 vk", "subclass": "kr 3 l", "base": "lr 3 k",
    "default": "kr 3 *", "Ctrl-C": "ir 3 *", "exit": "sr 3 *", "None": "nr 3 v", "zero": "0r 3 v", "again": "vvrvvr 3 v aa",
    "after failures": "vvvr 2 v aa", "two functions": "vvrvvr 3 v ab", "backoff": "vvvr 4 v", "halved": "vvvr 4 v", "no backoff": "vvvr 4 v", "thousands": "v" * 1500 + " 1500 v",
}  # fmt: skip
OPTIONS = {"backoff": {"backoff": 3.0}, "halved": {"backoff": 0.5}, "no backoff": {"backoff": 0.0}, "thousands": {"delay": 0.0}}  # fmt: skip
MANY = "".join(map(chr, range(200, 500)))
RUNS = {  # size of the cache, calls: "!" raises, "-" is cache_clear()
    "repeated": (4, "AA"), "order": (2, "ABACAB"), "over": (2, "ABCA"), "second": (3, "ABCDC"), "often": (2, "AAABCA"), "one": (1, "AABA"),
    "long": (3, "ABCBADCAB"), "none": (0, "AA"), "big": (9, "ABCDEA"), "clear": (4, "A-A"), "raises": (2, "AB!AB"), "raises often": (3, "AB!!!AB"),
    "default": (128, MANY[:128] + MANY[0]), "default over": (128, MANY[:129] + MANY[0]), "unlimited": (None, MANY * 2),
}  # fmt: skip
INFOS = {  # size, calls: looked at after them
    "new": (3, ""), "miss": (3, "A"), "hit": (3, "AA"), "mixed": (5, "AABAC"), "evicted": (2, "ABCD"), "again": (2, "ABCA"),
    "no limit": (None, "ABA"), "no room": (0, "AAB"), "raises": (3, "A!!"), "cleared": (3, "AAB-"), "default": (128, "A"),
}  # fmt: skip
PAIRS = {  # two calls that differ
    "value": ([1], {}, [2], {}), "count": ([1], {}, [1, 2], {}), "order": ([1, 2], {}, [2, 1], {}), "twice": ([1, 1], {}, [1], {}),
    "tuple": ([1, 2], {}, [(1, 2)], {}), "one tuple": ([1], {}, [(1,)], {}), "second": ([1, 2], {}, [1, 3], {}), "text": ([1], {}, ["1"], {}),
    "joined": (["a", "b"], {}, ["ab"], {}), "hash": ([-1], {}, [-2], {}), "look": ([Key(1)], {}, [Key(2)], {}), "beside": ([1], {"k": 2}, [1], {}),
    "keyword": ([], {"k": 1}, [], {"k": 2}), "name": ([], {"a": 1}, [], {"b": 1}), "exchanged": ([], {"a": 1, "b": 2}, [], {"a": 2, "b": 1}),
    "pair": ([1], {"k": 2}, [1, ("k", 2)], {}), "flat": ([1], {"k": 2}, [1, "k", 2], {}), "pairs": ([], {"k": 2}, [(("k", 2),)], {}),
}  # fmt: skip
KINDS = {
    "Same": {"__eq__": lambda a, b: True}, "SameHash": {"__eq__": lambda a, b: True, "__hash__": lambda a: 0}, "Plain": {},
    "Answering": {"__getattr__": lambda *_: None}, "Slotted": {"__slots__": ("__dict__",)}, "Frozen": {"__setattr__": lambda *_: 1 / 0},
}  # fmt: skip
ONCE = {  # cases without a table, for each function
    "retry": "decorating method keywords arguments traceback",
    "lru_cache": "decorating method keywords functions recursion inner result key cleared hashes",
    "cached_method": "decorating method keywords methods super qualname address gone collected slots hashes",
}  # fmt: skip
BOTH = "raises v,raises k,raises t,after v,list,dict,keyword list,equal,equal keyword,returns n,returns 0,object"
KEYWORDS = "times exceptions delay backoff sleep wait function func fn maxsize key cache args kwargs"
LOOKS = ("__name__", "__qualname__", "__doc__", "__module__", "version", "__wrapped__")
WRONG = {"0 times": {"times": 0}, "times": {"times": -1}, "delay": {"delay": -1.0}, "backoff": {"backoff": -1.0}, "size": {}}  # fmt: skip


def cases(rng):
    def some(of, see, says, names, **more):
        for name in names:
            drawn = {"number": int(randint(rng, 1, 10**9, 1)), "delay": 0.001 / (1 + float(randn(rng, 1)) ** 2)}
            yield Case(says.format(of, name), of=of, see=see, at=name, **drawn, **more)

    for shown in ("calls", "waits", "end"):
        yield from some("retry", "retry", f"{{1}}: {shown}", RETRY, show=shown)
    for of, names in ONCE.items():
        yield from some(of, "once", "{}: {}", names.split())
        yield from some(of, "look", "{}: looks like {}", LOOKS)
    for of in list(ONCE)[1:]:
        yield from some(of, "both", "{}: {}", BOTH.split(","))
        yield from some(of, "pair", "{}: differs in {}", PAIRS)
    yield from some("cached_method", "kind", "instances: {1}", KINDS)
    yield from some("lru_cache", "runs", "runs: {1}", RUNS, field="")
    for field in ("hits", "misses", "maxsize", "currsize"):
        yield from some("lru_cache", "runs", f"info: {{1}}, {field}", INFOS, field=field)
    for name in WRONG:
        yield from some("lru_cache" if name == "size" else "retry", "wrong", "wrong {1}", [name])


def run(kata, case):
    gc.freeze()  # so that a collection has little to look at
    gc.disable()
    try:
        return {"evidence": globals()[f"see_{case.see}"](kata, case, case.at)}
    finally:
        gc.enable()
        gc.unfreeze()


def ending(call, errors=()):
    """What came out: the result, or which of the errors (or of the classes of errors)."""
    try:
        result = call()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return ["raised", next((number for number, own in enumerate(errors) if own in (error, type(error))), "another")]
    return ["returned", result if isinstance(result, int | str | list | None) else type(result).__name__]


def planned(plan, number):
    """(function, calls, errors): each call does what its letter says, later ones return -1."""
    calls, results, errors = (
        [],
        {"r": number, "n": None, "0": 0},
        [ERRORS.get(letter, ValueError)(letter) for letter in plan],
    )

    def function(*args, **kwargs):
        calls.append([list(args), kwargs])
        letter = plan[len(calls) - 1 : len(calls)]
        if letter in ERRORS:
            raise errors[len(calls) - 1]
        return results.get(letter, -1)

    return function, calls, errors


def decorated(kata, of, function):
    return (kata.cached_method if of == "cached_method" else getattr(kata, of)(3))(function)


def holder(number, **attributes):
    return type("Holder", (), {"__init__": lambda self, n=number: vars(self).update(number=n), **attributes})


def keeping(kata, of, function):
    if of == "lru_cache":
        return kata.lru_cache(8)(function)
    return holder(0, m=kata.cached_method(lambda self, /, *args, **kwargs: function(*args, **kwargs)))().m


def see_retry(kata, case, name):
    plan, times, listed, called = f"{RETRY[name]} a".split()[:4]
    (function, calls, errors), waits, made = planned(plan, case.number), [], {}
    options = {"delay": case.delay} | OPTIONS.get(name, {})
    options |= {} if listed == "*" else {"exceptions": tuple(ERRORS[one] for one in listed if one in ERRORS)}
    start = partial(kata.retry, int(times), sleep=waits.append, **options)
    ends = [ending(lambda: made.update({key: make(function) for make in [start()] for key in set(called)}))]
    ends += [ending(made[key], errors) for key in called if made]
    count = len(calls) if len(calls) < 100 else (len(calls) > 1000) + (len(calls) > 1499)  # not how deep a stack can be
    return {"calls": count, "waits": [float(wait) for wait in waits if wait], "end": ends[-1]}[case.show]


def see_runs(kata, case, name):
    """Which calls ran the function, and which failed; or a field of cache_info() after them."""
    size, keys = (INFOS if case.field else RUNS)[name]
    ran, seen = [], ""
    decorate = kata.lru_cache() if size == 128 else kata.lru_cache(size)
    wrapper = decorate(lambda key: ran.append(key) or (case.number if key != "!" else [][0]))
    for key in keys:
        ran.clear()
        end = ending(wrapper.cache_clear if key == "-" else partial(wrapper, key))
        seen += (key if ran or key == "-" else ".") + ("?" if end[0] == "raised" and key != "!" else "")
    return getattr(wrapper.cache_info(), case.field) if case.field else seen


def see_pair(kata, case, name):
    text = f"{case.number} {{}} {{}} {{}}".format
    function = keeping(
        kata, case.of, lambda *a, **k: text(a, sorted(k.items()), [x.real for x in a if isinstance(x, Key)])
    )
    one, first, two, second = PAIRS[name]
    return [ending(partial(function, *one, **first)), ending(partial(function, *two, **second))]


def see_look(kata, case, name):
    def subject(self, number: int, *rest: float, scale: float = 1.5, **options: str) -> str:
        """Text."""

    subject.version = 3
    wrapper = type("Holder", (), {"m": decorated(kata, case.of, subject)}).m
    return getattr(wrapper, name, None) == (subject if name == "__wrapped__" else getattr(subject, name))


def see_wrong(kata, case, name):
    try:
        decorate = kata.lru_cache(-1) if name == "size" else kata.retry(**{"times": 3} | WRONG[name])
        return ["not refused", ending(decorate(planned("r", 1)[0]))[0]]
    except ValueError:
        return "refused"


def see_both(kata, case, name):
    if name == "object":
        function = keeping(kata, case.of, lambda x: [x])
        return function(1) is function(1)
    does, _, plan = name.partition(" ")
    function, calls, errors = planned("rrr" if does in ("equal", "keyword") else plan + "rr", case.number)
    function, ends = keeping(kata, case.of, function), []
    bad = {"list": [1], "dict": {}}.get(name.split()[-1])
    for _ in range(2):
        key = (case.number, f"{case.number} made anew") if bad is None else bad
        call = partial(function, 1, k=key) if "keyword" in name else partial(function, key)
        ends.append(ending(call, errors if bad is None else [TypeError]))
    return ends[does == "after"] if does in ("raises", "after") else [ends[0], len(calls)]


def see_kind(kata, case, name):
    kind = holder(0, m=kata.cached_method(lambda self, x: self.__dict__["number"] + x), **KINDS[name])
    instances = [kind(case.number), kind(case.number + 1)]
    return [ending(lambda one=one: one.m(5)) for one in instances]


def see_once(kata, case, name):
    function, calls, errors = planned("vv" if name == "traceback" else "vr", case.number)
    if name == "decorating":
        decorated(kata, case.of, function)
        return len(calls)
    if name == "method":
        kind = holder(case.number, m=decorated(kata, case.of, lambda self, x: self.number + x))
        return [ending(lambda: kind().m(5)), ending(lambda: kind.m(kind(), 5))]
    if name == "keywords":
        function = decorated(kata, case.of, lambda first, /, **kwargs: len(kwargs))
        return ending(partial(function, Key(1), **dict.fromkeys(KEYWORDS.split())))
    if name == "arguments":
        return [ending(partial(kata.retry(2)(function), 1, case.number, k=2), errors), calls]
    if name != "traceback":
        return globals()[f"once_{case.of}"](kata, case.number, name, calls)
    try:
        kata.retry(2)(function)()
    except ValueError as error:
        return traceback.extract_tb(error.__traceback__)[-1].filename == function.__code__.co_filename


def takes_little_work(kata, function):
    keys = [Key(number) for number in (*range(300), *range(299, -1, -1))]
    Key.work = 0
    end = ending(lambda: expect_lines(lambda: [function(key) for key in keys], kata, 60 * len(keys), what=""))
    return end[0] == "returned" and Key.work <= 24 * len(keys)


def once_lru_cache(kata, number, name, calls):
    if name == "functions":
        one, two = map(kata.lru_cache(4), (lambda x: number, lambda x: number + 1))
        return [ending(partial(one, 1)), ending(partial(two, 1)), *two.cache_info()]
    if name == "recursion":
        wrapper = kata.lru_cache(3)(lambda n: calls.append(wrapper.cache_info().currsize) or (n and wrapper(n - 1)))
        ending(partial(wrapper, 12))
        return max([*calls, wrapper.cache_info().currsize]) <= 3
    if name == "inner":
        wrapper = kata.lru_cache(2)(lambda key: calls.append(key) or (wrapper(key) if calls == ["A", "B"] else number))
        return [ending(partial(wrapper, key)) for key in "ABAB"] + [len(calls)]
    if name == "hashes":
        return [takes_little_work(kata, kata.lru_cache(size)(lambda key: 0)) for size in (200, 400)]
    things = [Key(number) for number in range(3)]
    references = list(map(weakref.ref, things))
    wrapper = kata.lru_cache(2)(lambda key: things.pop() if name != "key" else 0)
    for number in range(3):
        wrapper(number if name != "key" else things.pop())
    if name == "cleared":
        wrapper.cache_clear()
    gc.collect()
    return sum(reference() is not None for reference in references)


def once_cached_method(kata, number, name, calls):
    def named_m(get):
        def m(self, x):
            return get(self, x)

        return m

    cached = kata.cached_method
    kind = holder(number, m=cached(named_m(lambda self, x: self.number + x)), n=cached(lambda self, x: -x))
    one = kind()
    if name == "methods":
        return [ending(lambda: one.m(5)), ending(lambda: one.n(5)), ending(lambda: one.m(5))]
    if name in ("super", "qualname"):
        over = named_m(lambda self, x: 2 * super(under, self).m(x))
        over.__qualname__ += "" if name == "qualname" else " of Under"
        under = type("Under", (kind,), {"m": cached(over)})
        one = under()
        return [ending(lambda: one.m(5)), ending(lambda: kind.m(one, 5))]
    if name == "address":
        return [ending(lambda n=n: kind(n).m(5)) for n in range(number, number + 20)]
    if name == "hashes":
        one = holder(0, m=cached(lambda self, key: calls.append(key)))()
        return [takes_little_work(kata, one.m), len(calls) == 300]
    kind = holder(0, m=cached(lambda self, x: 0), **({"__slots__": ("__dict__",)} if name == "slots" else {}))
    one = kind()
    one.held = Key(0)
    reference = weakref.ref(one.held)
    end = ending(lambda: one.m(1))
    del one
    if name == "collected":
        gc.collect()
    return [end, reference() is None]
