"""What can be seen of a ranking's measures. Each case asks one thing of one function, with as few samples as it takes."""

import contextlib
import tracemalloc

import numpy as np
import torch

from dojo.testing import Wrong, measure, numbers, randint, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case, Pairs

FORBIDDEN = ("scipy.stats",)
FUNCTIONS = ("roc_curve", "roc_auc", "average_precision")
N = 3000
ERRORS = {
    "NaN score": ([1, 0, 1, 0], [4.0, 3.0, torch.nan, 1.0]),
    "target 2": ([1, 0, 2, 0], [4.0, 3.0, 2.0, 1.0]),
    "target -1": ([1, 0, -1, 0], [4.0, 3.0, 2.0, 1.0]),
    "target 0.5": ([1, 0, 0.5, 0], [4.0, 3.0, 2.0, 1.0]),
    "target NaN": ([1, 0, torch.nan, 0], [4.0, 3.0, 2.0, 1.0]),
    "targets -1 and 1": ([1, -1, 1, -1], [4.0, 3.0, 2.0, 1.0]),
    "fewer scores": ([1, 0, 1, 0], [4.0, 3.0, 2.0]),
    "fewer targets": ([1, 0, 1], [4.0, 3.0, 2.0, 1.0]),
    "column of targets": ([[1], [0], [1]], [3.0, 2.0, 1.0]),
    "column of scores": ([1, 0, 1], [[3.0], [2.0], [1.0]]),
    "two tables": ([[1, 0], [0, 1]], [[4.0, 3.0], [2.0, 1.0]]),
    "nothing": ([], []),
    "negatives": ([0, 0, 0], [0.5, 1.5, 1.0]),
}


def ranked(rng, positives, negatives, good=True):
    """Targets from the highest score to the lowest, whose AUC is above 1/2, or below it."""
    targets = torch.zeros(positives + negatives, dtype=torch.int64)
    targets[torch.randperm(positives + negatives, generator=rng)[:positives]] = 1
    ranks = targets.nonzero().double()
    return targets if bool(ranks.mean() < (len(targets) - 1) / 2) == good else targets.flip(0)


def shuffled(rng, targets, scores):
    order = torch.randperm(len(targets), generator=rng)
    return targets[order], torch.as_tensor(scores, dtype=torch.float64)[order]


def tied(rng, block):
    """A block of equal scores somewhere among five samples of distinct ones; from high to low."""
    place = int(randint(rng, 1, 5, 1))
    others = ranked(rng, 2, 3).tolist()
    targets = others[:place] + block + others[place:]
    scores = [9.0 - i for i in range(place)] + [4.0] * len(block) + [3.0 - i for i in range(5 - place)]
    return torch.tensor(targets), torch.tensor(scores, dtype=torch.float64)


def situations(rng):
    """(name, targets, scores, dtype of the targets, dtype of the scores)"""
    distinct = (torch.randperm(40, generator=rng)[:8].sort(descending=True).values - 16) / 4  # no rounding moves them
    yield "distinct", *shuffled(rng, ranked(rng, 3, 5), distinct), "int64", "float64"
    yield "worse than chance", *shuffled(rng, ranked(rng, 3, 5, good=False), distinct), "int64", "float64"
    yield "tie, positive first", *tied(rng, [1, 0]), "int64", "float64"
    yield "tie, negative first", *tied(rng, [0, 1]), "int64", "float64"
    yield "tied positives", *tied(rng, [1, 1, 1]), "int64", "float64"
    yield "only a tie", torch.tensor([1, 0]), numbers(3, 3), "int64", "float64"
    targets = ranked(rng, 2, 3)
    for dtype, low in {"uint8": 0, "int8": -128, "int64": -(2**63)}.items():
        yield f"{dtype} from {low}", targets, torch.arange(4, -1, -1) + low, "int64", dtype
    yield "bool scores", torch.tensor([0, 1]), torch.tensor([0, 1]), "int64", "bool"
    yield "beyond 2**53", torch.tensor([0, 1, 0]), torch.tensor([0, 1, -9]) + 2**53, "int64", "int64"
    yield "near 1", torch.tensor([0, 1, 0]), numbers(1, 1 + 2**-52, 0), "int64", "float64"
    yield "near 1, 1e-6 apart", torch.tensor([0, 1, 0]), numbers(1, 1 + 1e-6, 0), "int64", "float64"
    yield "tiny and huge", torch.tensor([0, 1, 0]), numbers(0, 1e-300, -1e300), "int64", "float64"
    yield "from 100 on", *shuffled(rng, ranked(rng, 2, 3), 104.0 - torch.arange(5)), "int64", "float64"
    yield "infinite", targets, numbers(torch.inf, 2, 1, 0, -torch.inf), "int64", "float64"
    both = numbers(torch.inf, torch.inf, 0, -torch.inf, -torch.inf)
    yield "infinite ties", torch.tensor([1, 0, 0, 1, 1]), both, "int64", "float64"
    yield "bool targets", *shuffled(rng, ranked(rng, 3, 4), 6.0 - torch.arange(7)), "bool", "float64"
    many = torch.ones(2300, dtype=torch.int64)
    many[torch.randperm(2300, generator=rng)[:31]] = 0
    yield "many float16 targets", many, torch.arange(2300.0), "float16", "float64"
    yield "only positives", torch.tensor([1, 1, 1]), numbers(2, 1, 0), "int64", "float64"


def cases(rng):
    given = list(situations(rng))
    many = torch.arange(N) % 2, randn(rng, N), "int64", "float64"
    given += [(name, *many) for name in ("memory", "lines")] + [(name, *given[0][1:]) for name in ("views", "after")]
    given += [("types", torch.tensor([1, 0, 1]), torch.tensor([0, 1, 1]), "bool", "float32")]
    for of in FUNCTIONS:
        for name, targets, scores, *dtypes in given:
            yield Case(f"{of}: {name}", of=of, kind=name, targets=targets, scores=scores, dtypes=dtypes)
        for name, (targets, scores) in ERRORS.items():
            both = torch.tensor(targets), torch.tensor(scores, dtype=torch.float64)
            yield Case(f"{of}: {name}", of=of, kind="error", targets=both[0], scores=both[1], dtypes=[None, None])


def run(kata, case):
    pairs = zip((case.targets, case.scores), case.dtypes, strict=True)
    targets, scores = (each.numpy().astype(dtype or each.numpy().dtype) for each, dtype in pairs)
    function = getattr(kata, case.of)
    if case.kind == "error" or (case.kind == "only positives" and case.of != "average_precision"):
        return refused(function, targets, scores)
    if case.kind == "memory":
        return {"lean": lean(function, targets, scores)}
    if case.kind == "lines":
        try:
            expect_lines(lambda: function(targets, scores), kata, 200, what=case.of)
        except Wrong:
            return {"lean": False}
        return {"lean": True}
    if case.kind == "views":
        targets, scores = np.repeat(targets, 2)[::-2], np.repeat(scores, 2)[::-2]
    if case.kind == "after":
        function(targets, scores)
        given = torch.from_numpy(targets), torch.from_numpy(scores)
        return {"targets": Pairs(given[0], case.targets), "scores": Pairs(given[1], case.scores)}
    try:
        result = function(targets, scores)
    except ValueError:  # with any message: all of these are to be taken
        return {"ValueError": True}
    if case.kind == "types":
        parts = result if case.of == "roc_curve" else []
        return {"float": isinstance(result, float), "dtypes": [str(getattr(part, "dtype", "")) for part in parts]}
    if case.of != "roc_curve":
        narrow = {"narrow": float(np.float32(result)) == float(result)} if len(targets) > 99 else {}
        return {"number": float(result)} | narrow
    fpr, tpr, thresholds = (torch.from_numpy(np.array(part, dtype=np.float64)) for part in result)
    return {"FPR": fpr, "TPR": tpr, "thresholds": thresholds}


def refused(function, targets, scores):
    """The ValueError, or that there is none. What it does instead depends on how it is written."""
    with contextlib.suppress(TypeError, LookupError, ArithmeticError, AttributeError, AssertionError):
        function(targets, scores)
    return {"ValueError": False}


def lean(function, targets, scores):
    tracemalloc.start()
    try:
        with measure() as spent:
            function(targets, scores)
        return max(tracemalloc.get_traced_memory()[1], 8 * spent.largest) <= 200 * N
    finally:
        tracemalloc.stop()
