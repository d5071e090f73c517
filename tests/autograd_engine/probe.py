"""What can be seen of an engine: numbers and gradients of single operations and small graphs, and what they cost."""

import gc
import sys
import tracemalloc
from functools import partial
from operator import iadd

from dojo.testing import Wrong, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case

FORBIDDEN = ("torch.autograd", "torch.func", "torch.tensor", "torch.as_tensor", "torch.Tensor")
OPERATIONS = {  # by method; all numbers lie between 0.5 and 2
    "__add__": ["a + b", "a + 2"], "__radd__": ["2 + a"], "__sub__": ["a - b", "a - 2"], "__rsub__": ["2 - a"],
    "__mul__": ["a * b", "a * 3"], "__rmul__": ["3 * a"], "__truediv__": ["a / b", "a / 4"], "__rtruediv__": ["4 / a"],
    "__neg__": ["-a"], "__pow__": ["a ** 3", "a ** 2", "a ** 1", "a ** 0", "a ** 0.5", "a ** -2", "a ** b"],
    "exp": ["a.exp()"], "log": ["a.log()"], "tanh": ["a.tanh()", "a.tanh() * 1e12"], "relu": ["a.relu()"],
}  # fmt: skip
AT = {  # other places: operation -> numbers
    "a ** 3": (0.0, -1.5), "a ** 2": (0.0, -3.0), "a ** 1": (0.0, -2.0), "a ** 0": (0.0, -2.0), "a ** -2": (-2.0, 0.0),
    "a ** 0.5": (-2.0,), "a.exp()": (-1000.0, 300.0), "a.log()": (1e-300, 1e300, 0.0, -1.0), "a.tanh()": (1000.0, -1000.0),
    "a.tanh() * 1e12": (1e-12,), "a.relu()": (-2.0, 0.0), "4 / a": (0.0, -2.0), "a / 4": (0.0,), "a * 3": (0.0,),
}  # fmt: skip
WRITTEN = ("a * b", "a * 3", "a / b", "4 / a", "a ** 3", "a.exp()", "a.log()", "a.tanh()", "a.relu()")
GRAPHS = {  # -> (what is looked at besides a and b, on what backward is called); additions, so that only order and sums count
    "a + a": lambda a, b: ([], [a + a]),
    "short and long": lambda a, b: ([s := a + b], [s + (s + b)]),
    "long and short": lambda a, b: ([s := a + b], [(s + b) + s]),
    "longer": lambda a, b: ([s := a + b], [(((s + 1) + 1) + 1) + s]),
    "ladder": lambda a, b: ([s := a + b, t := s + s, u := t + t], [u + u]),
    "in place": lambda a, b: ([s := a + 1], [iadd(a, b), s]),
    "mixed": lambda a, b: ([h := a * b], [(h - 2 * a).tanh() + h / b]),
    "leaf twice": lambda a, b: ([], [a, a]),
    "twice": lambda a, b: ([f := a + b], [f, f]),
    "twice through one": lambda a, b: ([h := a + b, f := h + a], [f, f]),
    "two results": lambda a, b: ([f := a + b], [f, a + 1]),
    "shared inner": lambda a, b: ([h := a + 1], [h + b, h + 1]),
    "inner after": lambda a, b: ([h := a + 1], [h + b, h]),
}  # fmt: skip
COSTS, LONG = ("deep", "lines", "lines of making", "comparisons", "freed", "freed after", "memory"), 1500


def cases(rng):
    def drawn():
        return [0.5 + 1.5 / (1 + number * number) for number in randn(rng, 2).tolist()]

    for method, name in ((method, name) for method, names in OPERATIONS.items() for name in names):
        case = partial(Case, of=f"Value.{method}", operation=name)
        yield case(name, numbers=drawn(), write="")
        yield case(f"minus: {name}", numbers=drawn(), write="", minus=True)
        yield from (case(f"{name}: {x}", numbers=[x, 1.0], write="") for x in AT.get(name, ()))
        yield from (case(f"{name}: {w}", numbers=drawn(), write=w) for w in ("operands", "result") if name in WRITTEN)
    yield Case("a / b: b = 0", of="Value.__truediv__", numbers=[1.0, 0.0], operation="a / b", write="")
    yield Case("equal numbers", of="Value.__init__", numbers=drawn())
    yield from (Case(name, of="Value.backward", numbers=drawn(), graph=name) for name in GRAPHS)
    yield from (Case(name, of="Value.backward", numbers=drawn()) for name in ("inner written", *COSTS))
    for name, which in {"some": [0], "inner": [2], "an iterator": [0, 1]}.items():
        yield Case(f"zero {name}", of="zero_grad", numbers=drawn(), which=which)


def run(kata, case):
    a, b = (kata.Value(number) for number in case.numbers)
    if hasattr(case, "operation"):
        try:
            result = eval(case.operation, {"a": a, "b": b})
            evidence = {"result": float(result.data)}
            for value in {"operands": [a, b], "result": [result]}.get(case.write, ()):
                value.data = -value.data
            (-result if hasattr(case, "minus") else result).backward()
        except (ArithmeticError, ValueError) as error:
            return {"error": "ValueError" if isinstance(error, ValueError) else type(error).__name__}
        return evidence | shown(a, b)
    if hasattr(case, "graph"):
        others, results = GRAPHS[case.graph](a, b)
        for result in results:
            result.backward()
        return shown(a, b, *others, *results)
    if hasattr(case, "which"):
        values = [a, b, a + b]
        values[2].backward()
        kata.zero_grad(iter([values[number] for number in case.which]))
        return shown(*values)
    if case.name == "equal numbers":
        c = kata.Value(a.data)
        (a + c).backward()
        return shown(a, c) | {"equal": [a == c, a == a, len({a, c})]}
    if case.name == "inner written":
        h = a + 1
        h.grad = b.grad = 5.0
        (h + b).backward()
        return shown(a, b, h)
    return {"lean": lean(kata, case.name, a)}


def shown(*values):
    return {"data": [float(value.data) for value in values], "grads": [float(value.grad) for value in values]}


def chain(a, length, twice=False):
    for _ in range(length):
        a = a + (a if twice else 1)
    return a


def lean(kata, name, a):
    if name == "deep":
        return chain(a, LONG).backward() is None
    if name == "comparisons":
        return compared(kata.Value, chain(a, 100)) <= 2200
    if name.startswith("freed"):
        return left(a, name == "freed after") < 100
    if name == "memory":
        tracemalloc.start()
        try:
            kept = chain(a, LONG)
            return kept is not a and tracemalloc.get_traced_memory()[0] < 4096 * LONG
        finally:
            tracemalloc.stop()
    work, most = (chain(a, 12, True).backward, 1400) if name == "lines" else (lambda: chain(a, 12, True), 920)
    try:
        return expect_lines(work, kata, most, what=name) is not a
    except Wrong:
        return False


def compared(kind, result):
    """How often backward compares two Values. A `__eq__` of the class is another case's question."""
    count, own = [], kind.__dict__.get("__eq__", object.__eq__)
    kind.__eq__ = lambda one, other: count.append(0) or one is other
    try:
        result.backward()
    finally:
        kind.__eq__ = own
    return len(count)


def left(a, after):
    """Blocks of memory that a graph leaves behind, at the last of three tries."""
    gc.disable()
    try:
        for _ in range(3):
            before = sys.getallocatedblocks()
            result = chain(a, 100)
            if after:
                result.backward()
            del result
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()
