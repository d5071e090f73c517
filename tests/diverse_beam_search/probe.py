"""What can be seen of a diverse beam search: lists where all free conventions agree, and how the model was called."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case

# Rows of probabilities, one for each last token; the start token is 0 unless told, and eos the last.
# Each case renames the tokens at random, and moves the odds a little: so little that no choice changes.
SAME_STEP = [[0.2, 0.8, 0.0, 0.0], [0.45, 0.55, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4]
COUNTED = [[0.6, 0.4, 0, 0, 0], [0.9, 0.1, 0, 0, 0], [0.08, 0, 0.5, 0.42, 0], [0.5, 0.3, 0.2, 0, 0], [0.2] * 5]
ONE_STEP = [[0.5, 0.3, 0.2, 0.0]] * 4
ONE_PARENT = [[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]]
SHORT_OF_IT = [[0.2, 0.8, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4]
TWO_ENDS = [[0, 0, 0, 0, 1.0], [0, 0, 0.9, 0.1, 0], [0, 0, 0.1, 0, 0.9], [0.6, 0.4, 0, 0, 0], [0.2] * 5]
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
SECOND_PLACE, NEGATIVE, UNFINISHED = (
    [*rows, [0.01, 0.01, 0.01, 0.0, 0.97], [0.03, 0.03, 0.03, 0.01, 0.9], [0.2] * 5]
    for rows in (
        [[0.0, 0.5, 0.18, 0.0, 0.32], [0.1, 0.0, 0.0, 0.6, 0.3]],
        [[0.0, 0.5, 0.20, 0.0, 0.30], [0.05, 0.0, 0.0, 0.9, 0.05]],
        [[0.0, 0.385, 0.305, 0.0, 0.31], [0.0, 0.0, 0.0, 0.995, 0.005]],
    )
)
BANNED = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
EARLY = [[0.06, 0.04, 0.9]] * 3
JUST_FINISHED = [[1e-4, 0.9932, 0.0067], [1e-9, 1e-9, 1.0], [0.3, 0.3, 0.4]]
MOST_CALLS = {"early": 5, "just finished": 2}  # all other searches may take a call for each step
WRONG = [{"groups": 3}, {"groups": 0}, {"groups": -2}, {"width": 0}, {"length": 0}, {"diversity": -0.1}]


def cases(rng):
    def case(name, **inputs):
        inputs = {"start": 0, "penalty": {}, "first": None, "dtype": torch.float64, "ends": True} | inputs
        return Case(name, of="diverse_beam_search", **disguised(rng, inputs) if "table" in inputs else inputs)

    weights = [randn(rng, 3, 6), randn(rng, 6, 6), randn(rng, 6, 3)]
    for penalty in (None, 1.0, 2.5, -1.0):
        named = {} if penalty is None else {"length_penalty": penalty}
        yield case(
            f"wide {penalty}", weights=weights, eos=2, width=54, length=3, groups=2, diversity=0.7, penalty=named
        )
    yield case("start is eos", weights=weights, eos=2, start=2, width=18, length=2, groups=2, diversity=0.7)
    yield case("alike", weights=weights, eos=2, width=6, length=4, groups=3, diversity=0.0, ends=False)
    weights = [randn(rng, 5, 6), randn(rng, 6, 6), randn(rng, 6, 5)]
    yield case("endless", weights=weights, eos=4, width=12, length=4, groups=3, diversity=1.0, ends=False)
    for groups, width, diversity in ((2, 2, 3.0), (2, 6, 0.4), (4, 4, 1.5), (4, 8, 0.8)):
        options = {"groups": groups, "width": width, "diversity": diversity, "ends": False}
        yield case(f"endless, {groups} groups of {width} beams", weights=weights, eos=4, length=4, **options)
    yield case("same step", table=SAME_STEP, start=2, width=2, length=2, groups=2, diversity=1.0)
    yield case("counted", table=COUNTED, start=3, width=4, length=2, groups=2, diversity=1.0)
    yield case("one step", table=ONE_STEP, width=5, length=1, groups=5, diversity=1.0)
    yield case("one parent", table=ONE_PARENT, width=4, length=2, groups=2, diversity=0.0)
    yield case("two ends", table=TWO_ENDS, start=3, width=2, length=6, groups=2, diversity=100.0)
    yield case("late winner", table=LATE_WINNER, width=4, length=5, groups=2, diversity=0.0, first=1)
    named = {"length_penalty": 1.0}
    yield case("slow winner", table=SLOW_WINNER, width=4, length=5, groups=2, diversity=0.0, first=1, penalty=named)
    yield case("soon better", table=SOON_BETTER, width=4, length=5, groups=2, diversity=0.0, first=1, penalty=named)
    inputs = {"start": 2, "width": 2, "length": 2, "groups": 2, "diversity": 1.0, "penalty": named}
    yield case("halved sums", table=SHORT_OF_IT, **inputs)
    yield case("second place", table=SECOND_PLACE, width=4, length=8, groups=2, diversity=0.0)
    named = {"length_penalty": -1.0}
    yield case("negative penalty", table=NEGATIVE, width=4, length=8, groups=2, diversity=0.0, penalty=named)
    yield case("unfinished", table=UNFINISHED, width=4, length=2, groups=2, diversity=0.0, penalty=named)
    yield case("banned", table=BANNED, width=4, length=4, groups=2, diversity=50.0)
    yield case("early", table=EARLY, width=4, length=50, groups=2, diversity=0.0)
    yield case("just finished", table=JUST_FINISHED, width=4, length=6, groups=2, diversity=0.0)
    half = [[0.3, 0.7, 0.0]] * 3
    yield case("half", table=half, width=2, length=40, groups=2, diversity=0.0, dtype=torch.bfloat16)
    for wrong in WRONG:
        yield case(str(wrong), table=BANNED, **({"width": 4, "length": 2, "groups": 2, "diversity": 0.5} | wrong))


def disguised(rng, inputs):
    """The inputs with their tokens renamed and their odds changed by one in a hundred at most."""
    table = torch.tensor(inputs["table"], dtype=torch.float64)
    noise = torch.rand(table.shape, generator=rng, dtype=torch.float64)
    table = torch.nn.functional.normalize(table * (1 + (noise - 0.5) / 50), p=1, dim=1)
    names = torch.randperm(len(table), generator=rng)
    old = names.argsort()
    renamed = {"start": names[inputs["start"]].item(), "eos": names[-1].item()}
    return inputs | renamed | {"table": table[old][:, old]}


def run(kata, case):
    calls = []

    def model(tokens):
        calls.append(len(tokens))
        if hasattr(case, "table"):
            return case.table.log().to(case.dtype)[tokens[:, -1]]
        embedding, recurrence, readout = case.weights
        state = torch.zeros(len(tokens), 6, dtype=torch.float64)
        for last in tokens.T:
            state = torch.tanh(state @ recurrence + embedding[last])
        logits = state @ readout
        if not case.ends:
            logits[:, case.eos] = -torch.inf
        return logits.log_softmax(-1)

    found = kata.diverse_beam_search(
        model,
        case.start,
        case.eos,
        case.width,
        case.length,
        groups=case.groups,
        diversity=case.diversity,
        **case.penalty,
    )
    found = [group[: case.first] for group in found]
    return {
        "tokens": [[list(h.tokens) for h in group] for group in found],
        "scores": [torch.tensor([float(h.score) for h in group]) for group in found],  # float32: sums may be too
        "kinds": [type(found[0][0].score).__name__, type(found[0][0].tokens[-1]).__name__],
        "calls within length": len(calls) <= MOST_CALLS.get(case.name, case.length),
        "rows within width": max(calls) <= case.width and min(calls) >= 1,
    }
