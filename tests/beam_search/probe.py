"""What can be seen of a beam search: hypotheses where W and 2W candidates agree, and how the model was called."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case

# Rows of probabilities, one for each last token; the start token is 0 unless told, and eos the last.
# Each case renames the tokens at random, and moves the odds a little: so little that no choice changes.
GREEDY_TRAP = [[0.04, 0.55, 0.40, 0.01], [0.24, 0.35, 0.40, 0.01], [0.05, 0.90, 0.04, 0.01], [0.1, 0.2, 0.3, 0.4]]
LATE_WINNER = [
    [0.0, 0.5, 0.2, 0.0, 0.3],
    [0.0, 0.0, 0.0, 0.69, 0.31],
    [0.02, 0.03, 0.05, 0.0, 0.9],
    [0.02, 0.03, 0.04, 0.01, 0.9],
    [0.2] * 5,
]
SOON_BETTER = [
    [0.0, 0.30, 0.20, 0.0, 0.5],
    [0.0, 0.0, 0.39, 0.60, 0.01],
    [0.0, 0.01, 0.01, 0.0, 0.98],
    [0.005, 0.005, 0.005, 0.98, 0.005],
    [0.2] * 5,
]
SLOW_WINNER = [
    [0.0, 0.27, 0.25, 0.0, 0.48],
    [0.12, 0.12, 0.36, 0.38, 0.02],
    [0.0, 0.01, 0.01, 0.0, 0.98],
    [0.005, 0.005, 0.005, 0.98, 0.005],
    [0.2] * 5,
]
ONE_PARENT = [[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]]
ONE_BEAM = [[0.35, 0.40, 0.25], [0.5, 0.15, 0.35], [0.3, 0.3, 0.4]]
SECOND_PLACE, NEGATIVE, UNFINISHED = (
    [*rows, [0.01, 0.01, 0.01, 0.0, 0.97], [0.03, 0.03, 0.03, 0.01, 0.9], [0.2] * 5]
    for rows in (
        [[0.0, 0.5, 0.18, 0.0, 0.32], [0.1, 0.0, 0.0, 0.6, 0.3]],
        [[0.0, 0.5, 0.20, 0.0, 0.30], [0.05, 0.0, 0.0, 0.9, 0.05]],
        [[0.0, 0.385, 0.305, 0.0, 0.31], [0.0, 0.0, 0.0, 0.995, 0.005]],
    )
)
BANNED = [[0.0, 0.6, 0.4], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
EARLY = [[0.06, 0.04, 0.9]] * 3
JUST_FINISHED = [[1e-4, 0.9932, 0.0067], [1e-9, 1e-9, 1.0], [0.3, 0.3, 0.4]]
MOST_CALLS = {"early": 5, "just finished": 2}  # all other searches may take a call for each step


def cases(rng):
    def case(name, of, **inputs):
        inputs = {"start": 0, "penalty": (), "first": None, "dtype": torch.float64} | inputs
        return Case(f"{name} {of}", of=of, **disguised(rng, inputs) if "table" in inputs else inputs)

    for of in ("beam_search", "beam_search_with_cache"):
        weights = [randn(rng, 3, 6), randn(rng, 6, 6), randn(rng, 6, 3)]
        for penalty in ((), (1.0,), (2.5,), (-1.0,)):
            yield case(f"wide {penalty}", of, weights=weights, eos=2, width=81, length=4, penalty=penalty)
        yield case("start is eos", of, weights=weights, eos=2, width=27, length=3, start=2)
        yield case("one step", of, weights=weights, eos=2, width=7, length=1)
        weights = [randn(rng, 5, 6), randn(rng, 6, 6), randn(rng, 6, 5)]
        yield case("greedy", of, weights=weights, eos=4, width=1, length=6)
        yield case("one beam", of, table=ONE_BEAM, start=1, width=1, length=3)
        yield case("greedy trap", of, table=GREEDY_TRAP, width=2, length=2)
        yield case("one parent", of, table=ONE_PARENT, width=2, length=2)
        yield case("late winner", of, table=LATE_WINNER, width=2, length=6, first=1)
        yield case("slow winner", of, table=SLOW_WINNER, width=2, length=5, penalty=(1.0,), first=1)
        yield case("soon better", of, table=SOON_BETTER, width=2, length=5, penalty=(1.0,), first=1)
        yield case("second place", of, table=SECOND_PLACE, width=2, length=8)
        yield case("negative penalty", of, table=NEGATIVE, width=2, length=8, penalty=(-1.0,))
        yield case("unfinished", of, table=UNFINISHED, width=2, length=2, penalty=(-1.0,))
        yield case("banned", of, table=BANNED, width=4, length=3)
        yield case("early", of, table=EARLY, width=2, length=50)
        yield case("just finished", of, table=JUST_FINISHED, width=2, length=6)
        yield case("half", of, table=[[0.3, 0.7, 0.0]] * 3, width=1, length=40, dtype=torch.bfloat16)
        for width, length in ((0, 3), (-1, 3), (2, 0), (2, -1)):
            yield case(f"width={width} length={length}", of, table=BANNED, width=width, length=length)


def disguised(rng, inputs):
    """The inputs with their tokens renamed and their odds changed by one in a hundred at most."""
    table = torch.tensor(inputs["table"], dtype=torch.float64)
    noise = torch.rand(table.shape, generator=rng, dtype=torch.float64)
    table = torch.nn.functional.normalize(table * (1 + (noise - 0.5) / 50), p=1, dim=1)
    names = torch.randperm(len(table), generator=rng)
    old = names.argsort()
    renamed = {"start": names[inputs["start"]].item(), "eos": names[-1].item()}
    return inputs | renamed | {"table": table[old][:, old]}


def model_of(case):
    """step(last, cache): a Markov chain for a table, else a recurrent model; the cache is nested."""
    if hasattr(case, "table"):
        table = case.table.log().to(case.dtype)
        return lambda last, cache: (table[last], {"last": last})
    embedding, recurrence, readout = case.weights

    def step(last, cache):
        state = torch.zeros(len(last), 6, dtype=torch.float64)
        if cache is not None:
            state = torch.cat([cache["layers"][0][0], cache["layers"][1].flatten(1)], 1)
        state = torch.tanh(state @ recurrence + embedding[last])
        return (state @ readout).log_softmax(-1), {"layers": [(state[:, :4],), state[:, 4:, None]]}

    return step


def run(kata, case):
    step = model_of(case)
    calls, nones = [], []

    def counted(last, cache):
        calls.append(len(last))
        nones.append(cache is None)
        return step(last, cache)

    def full(tokens):
        calls.append(len(tokens))
        cache = None
        for last in tokens.T:
            log_probs, cache = step(last, cache)
        return log_probs

    model = full if case.of == "beam_search" else counted
    arguments = (case.start, case.eos, case.width, case.length, *case.penalty)
    found = getattr(kata, case.of)(model, *arguments)[: case.first]
    return {
        "tokens": [list(h.tokens) for h in found],
        "scores": torch.tensor([float(h.score) for h in found]),  # float32: sums may be kept in it
        "kinds": [type(found[0].score).__name__, type(found[0].tokens[-1]).__name__],
        "calls within length": len(calls) <= MOST_CALLS.get(case.name.removesuffix(f" {case.of}"), case.length),
        "rows within width": all(1 <= rows <= case.width for rows in calls),
        "cache is None at first only": nones == [True] + [False] * (len(nones) - 1) if nones else True,
    }
