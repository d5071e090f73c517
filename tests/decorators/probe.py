"""What can be seen of decorators: which calls run the function, what comes out, what waits between, what is freed."""

import gc
import traceback
import weakref
from functools import partial

from dojo.testing import randint, randn
from dojo.testing.evidence import few_lines, refused
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
KEYWORDS = "times exceptions delay backoff sleep wait function func fn maxsize key cache args kwargs"
RETRY = (  # what the function does (see `planned`), times, exceptions, calls (see `retried`), backoff; "*": not given
    "r 3 v a *", "vr 3 v a *", "vvr 4 v a *", "vvr 3 v a *", "vvvvv 3 v a *", "vvv 1 v a *", "V 1500 v a *",
    "vvr 3 v A *", "kr 3 v a *", "vr 3 () a *", "vkr 4 v a *", "kr 3 vk a *", "kr 3 l a *", "lr 3 k a *", "kr 3 * a *",
    "ir 3 * a *", "sr 3 * a *", "nr 3 v a *", "0r 3 v a *", "vvrvvr 3 v aa *", "vvvr 2 v aa *", "vvrvvr 3 v ab *",
    "vvvr 4 v a 3.0", "vvvr 4 v a 0.5", "vvvr 4 v a 0.0",
)  # fmt: skip
CHARS = "".join(map(chr, range(200, 500)))
MANY = {"128+1": CHARS[:128] + CHARS[0], "129+1": CHARS[:129] + CHARS[0], "300+300": CHARS * 2}
RUNS = (  # size of the cache, and calls: "!" raises, "-" is cache_clear()
    "4 AA", "2 ABACAB", "2 ABCA", "3 ABCDC", "2 AAABCA", "1 AABA", "3 ABCBADCAB", "0 AA", "9 ABCDEA", "4 A-A",
    "2 AB!AB", "3 AB!!!AB", "* 128+1", "* 129+1", "None 300+300",
)  # fmt: skip
INFOS = ("3 ", "3 A", "3 AA", "5 AABAC", "2 ABCD", "2 ABCA", "None ABA", "0 AAB", "3 A!!", "3 AAB-", "* A")
CALLS = (  # what the function does, and calls of it: pairs that differ, equal ones, and what is not hashable
    "r f(1), f(2)", "r f(1), f(1, 2)", "r f(1, 2), f(2, 1)", "r f(1, 1), f(1)", "r f(1, 2), f((1, 2))",
    "r f(1), f((1,))", "r f(1), f('1')", "r f(1, 2), f(1, 3)", "r f('a', 'b'), f('ab')", "r f(-1), f(-2)",
    "r f(key), f(other)", "r f(1, k=2), f(1)", "r f(k=1), f(k=2)", "r f(a=1), f(b=1)", "r f(a=1, b=2), f(a=2, b=1)",
    "r f(1, k=2), f(1, ('k', 2))", "r f(1, k=2), f(1, 'k', 2)", "r f(k=2), f((('k', 2),))", "r f(key), f(same)",
    "r f(1, k=key), f(1, k=same)", "n f(1), f(1)", "0 f(1), f(1)", "o f(1), f(1)", "v f(1)", "k f(1)", "t f(1)",
    "vr f(1), f(1)", "r f([1]), f([1])", "r f({}), f({})", "r f(1, k=[1]), f(1, k=[1])",
)  # fmt: skip
KINDS = {
    "Same": {"__eq__": lambda a, b: True}, "SameHash": {"__eq__": lambda a, b: True, "__hash__": lambda a: 0},
    "Plain": {}, "Answering": {"__getattr__": lambda *_: None}, "Slotted": {"__slots__": ("__dict__",)},
    "Frozen": {"__setattr__": lambda *_: 1 / 0},
}  # fmt: skip
INFO = ("hits", "misses", "maxsize", "currsize")
LOOKS = ("__name__", "__qualname__", "__doc__", "__module__", "version", "__wrapped__")
SEEN = {  # what is seen, and where, of each function
    "retry": {
        "calls": RETRY, "waits": RETRY, "end": RETRY, "trace": ("vvv 1 v a *",), "look": LOOKS,
        "once": ("decorating", "keywords"), "methods": ("method",),
        "wrong": ("retry(0)", "retry(-1)", "retry(3, delay=-1.0)", "retry(3, backoff=-1.0)"),
    },
    "lru_cache": {
        "runs": RUNS, **dict.fromkeys(INFO, INFOS), "results": CALLS, "look": LOOKS, "methods": ("method",),
        "once": ("decorating", "keywords", "work", "functions", "recursion", "inner"),
        "alive": ("key", "result", "cleared"), "wrong": ("lru_cache(-1)",),
    },
    "cached_method": {
        "results": CALLS, "look": LOOKS, "once": ("decorating", "keywords", "work"), "alive": ("at once", "collected"),
        "methods": ("method", "two methods", "super", "qualname", "address", *KINDS),
    },
}  # fmt: skip


def cases(rng):
    for of, see, at in ((of, see, at) for of, seen in SEEN.items() for see, names in seen.items() for at in names):
        drawn = {"number": int(randint(rng, 1, 10**9, 1)), "delay": 0.001 / (1 + float(randn(rng, 1)) ** 2)}
        yield Case(f"{of}: {see} {at}", of=of, see=see, at=at, **drawn)


def run(kata, case):
    gc.disable()  # what is freed at once needs no collector
    try:
        look = runs if case.see in INFO else globals().get(case.see, retried)
        return {"evidence": look(kata, case)}
    finally:
        gc.enable()


def ending(call, *args, outcomes=(), **kwargs):
    """What came out: a plain result, whether it is one of the outcomes, or which of them was raised."""
    try:
        result = call(*args, **kwargs)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return ["raised", outcomes.index(error) if error in outcomes else isinstance(error, TypeError)]
    is_plain = isinstance(result, int | str | list | None)
    return ["returned", result if is_plain else any(result is outcome for outcome in outcomes)]


def planned(plan, number):
    """(function, calls, outcomes): a call does what its letter says; "r" or no letter: the text of its arguments."""
    calls, results = [], {"r": "r", "n": None, "0": 0, "o": {1: 1}}
    outcomes = [ERRORS[letter](letter) if letter in ERRORS else results[letter] for letter in plan]

    def function(*args, **kwargs):
        calls.append(args)
        outcome = outcomes[len(calls) - 1] if len(calls) <= len(plan) else "r"
        if isinstance(outcome, BaseException):
            raise outcome
        text = f"{number} {args} {[float(x) for x in args if isinstance(x, Key)]} {sorted(kwargs.items())}"
        return text if outcome == "r" else outcome

    return function, calls, outcomes


def decorated(kata, of, function, size=8):
    return (kata.cached_method if of == "cached_method" else getattr(kata, of)(size))(function)


def holder(number, **attributes):
    """A class whose instances have a number."""
    return type("Holder", (), {"__init__": lambda self, n=number: vars(self).update(number=n), **attributes})


def keeping(kata, of, function, size=8):
    if of == "lru_cache":
        return decorated(kata, of, function, size)
    return holder(0, m=kata.cached_method(lambda self, /, *args, **kwargs: function(*args, **kwargs)))().m


def retried(kata, case):
    """One decorator makes the functions a and b, or A, which gets arguments. V: 1500 times v, with a delay of 0."""
    plan, times, listed, called, backoff = case.at.replace("V", "v" * 1500).split()
    (function, calls, outcomes), waits = planned(plan, case.number), []
    options = {"delay": 0.0 if "V" in case.at else case.delay}
    options |= {} if backoff == "*" else {"backoff": float(backoff)}
    options |= {} if listed == "*" else {"exceptions": tuple(ERRORS[one] for one in listed if one in ERRORS)}

    def last():
        decorate = kata.retry(int(times), sleep=waits.append, **options)
        made = {key: decorate(function) for key in sorted({*called})}
        calls = [partial(made[key], 1, k=2) if key == "A" else made[key] for key in called]
        return [ending(call, outcomes=outcomes) for call in calls][-1]

    end, count = ending(last), len(calls)
    if case.see == "trace":
        return traceback.extract_tb(outcomes[0].__traceback__)[-1].name == function.__name__
    count = count if count < 100 else count // 500  # not how deep a stack can be
    return {"calls": count, "waits": [float(wait) for wait in waits if wait], "end": end}[case.see]


def runs(kata, case):
    """Which calls ran the function, and which failed; or a field of cache_info() after them."""
    size, _, keys = case.at.partition(" ")
    ran, seen = [], ""
    sizes = [] if size == "*" else [None] if size == "None" else [int(size)]
    wrapper = kata.lru_cache(*sizes)(lambda key: ran.append(key) or 1 // (key != "!"))
    for key in MANY.get(keys, keys):
        ran.clear()
        end = ending(wrapper.cache_clear) if key == "-" else ending(wrapper, key)
        seen += "?" if end[0] == "raised" and key != "!" else key if ran else "."
    return getattr(wrapper.cache_info(), case.see) if case.see in INFO else seen


def results(kata, case):
    """What comes out of the last call, and how many ran."""
    plan, _, text = case.at.partition(" ")
    function, calls, outcomes = planned(plan, case.number)
    f = partial(ending, keeping(kata, case.of, function), outcomes=outcomes)
    ends = eval(f"[{text}]", {"f": f, "key": Key(1), "same": Key(1), "other": Key(2)})
    return [ends[-1], len(calls)]


def look(kata, case):
    def subject(self):
        """Text."""

    subject.version = 3
    wrapper = type("Holder", (), {"m": decorated(kata, case.of, subject)}).m
    return getattr(wrapper, case.at, None) == (subject if case.at == "__wrapped__" else getattr(subject, case.at))


def wrong(kata, case):
    decorate = partial(eval, case.at, {case.of: getattr(kata, case.of)})
    return "refused" if refused(decorate) else ["not refused", ending(lambda: decorate()(planned("r", 1)[0])())[0]]


def methods(kata, case):
    def named(method, qualname="m"):
        method.__name__, method.__qualname__ = "m", qualname
        return decorated(kata, case.of, method)

    m, n = named(lambda self, x: self.number + x), decorated(kata, case.of, lambda self, x: -x)
    kind = holder(case.number, m=m, n=n, **KINDS.get(case.at, {}))
    over = named(lambda self, x: 2 * super(under, self).m(x), "m" if case.at == "qualname" else "Under.m")
    under = type("Under", (kind,), {"m": over})
    one, two, both = kind(), kind(case.number + 1), under()
    calls = {"method": [one.m, partial(kind.m, one)], "two methods": [one.m, one.n, one.m]}
    calls |= {"super": [both.m, partial(kind.m, both)], "address": (kind(n).m for n in range(20))}
    calls |= {"qualname": calls["super"]} | dict.fromkeys(KINDS, (one.m, two.m))
    return [ending(call, 5) for call in calls[case.at]]


def alive(kata, case):
    """How many are alive of three keys, results or instances with what they hold."""
    things = [Key(number) for number in range(3)]
    references = list(map(weakref.ref, things))
    if case.of == "lru_cache":
        wrapper = kata.lru_cache(2)(lambda key: 0 if case.at == "key" else things.pop())
        for number in range(3):
            wrapper(things.pop() if case.at == "key" else number)
        if case.at == "cleared":
            wrapper.cache_clear()
    else:
        kind = holder(0, m=kata.cached_method(lambda self, x: 0))
        while things:
            one = kind()
            one.held = things.pop()
            one.m(1)
        del one
    if case.at != "at once":
        gc.collect(0)
    return sum(reference() is not None for reference in references)


def once(kata, case):
    """What needs no table."""
    of, (function, calls, _) = case.of, planned("vr", case.number)
    if case.at == "decorating":
        return [decorated(kata, of, function), len(calls)][1]
    if case.at == "keywords":
        function = decorated(kata, of, lambda first, /, **kwargs: len(kwargs))
        return ending(function, Key(1), **dict.fromkeys(KEYWORDS.split()))
    if case.at == "work":
        functions = [keeping(kata, of, lambda key: calls.append(key) or 1, size) for size in (200, 400)]
        return [*(takes_little_work(kata, each) for each in functions), of == "lru_cache" or len(calls)]
    if case.at == "functions":
        one, two = map(kata.lru_cache(4), (lambda x: case.number, lambda x: case.number + 1))
        return [ending(one, 1), ending(two, 1), *two.cache_info()]
    if case.at == "recursion":
        wrapper = kata.lru_cache(2)(lambda n: n and wrapper(n - 1))
        return [wrapper(12), wrapper.cache_info().currsize <= 2]
    wrapper = kata.lru_cache(2)(lambda key: calls.append(key) or (wrapper(key) if calls == ["A", "B"] else 0))
    return [*(ending(wrapper, key) for key in "ABAB"), len(calls)]


def takes_little_work(kata, function):
    keys, Key.work = [Key(number) for number in (*range(300), *range(299, -1, -1))], 0
    return few_lines(lambda: [function(key) for key in keys], kata, 60 * len(keys)) and Key.work <= 24 * len(keys)
