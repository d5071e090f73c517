"""What can be seen of a stopper and of schedules: the answers to a sequence of values, and the rates of many steps."""

import copy

import torch

from dojo.testing import randint
from dojo.testing.probes import Case

FORBIDDEN = ("torch.optim.lr_scheduler",)
NAN = float("nan")
INIT, STEP = "EarlyStopping", "EarlyStopping.step"
VALUES = {
    "bad after good": ([4.0, 2.0, 3.0, 3.5, 2.5, 6.0], {"patience": 3}),
    "patience 1": ([4.0, 2.0, 3.0, 1.0], {"patience": 1}),
    "resets": ([4.0, 5.0, 3.0, 5.0, 2.0, 5.0, 1.0, 2.0, 2.0], {"patience": 2}),
    "falls, but not to the best": ([1.0, 5.0, 4.0, 3.0], {"patience": 3}),
    "equal": ([2.0, 2.0, 2.0, 2.0], {"patience": 2}),
    "max": ([0.25, 0.5, 0.75, 0.5, 0.75], {"patience": 2, "mode": "max"}),
    "max, negative": ([-3.0, -4.0, -2.0, -3.0, -3.0], {"patience": 2, "mode": "max"}),
    "delta": ([1.0, 0.75, 0.625, 0.375, 0.5, 0.375], {"patience": 2, "min_delta": 0.25}),
    "delta, exactly": ([1.0, 0.75, 0.875], {"patience": 2, "min_delta": 0.25}),
    "delta, negative": ([-8.0, -8.25, -8.5, -8.25, -8.5, -8.75], {"patience": 2, "min_delta": 0.25}),
    "delta, max": ([0.5, 0.625, 0.875, 1.125, 1.0], {"patience": 2, "min_delta": 0.25, "mode": "max"}),
    "small gains": ([2.0, 1.875, 1.75, 1.625, 1.5, 1.375, 1.25], {"patience": 3, "min_delta": 0.25}),
    "nan": ([1.0, NAN, NAN, NAN], {"patience": 3}),
    "nan, then worse": ([1.0, NAN, 2.0, 3.0], {"patience": 2}),
    "tiny": ([3e-20, 2e-20, 1e-20, 2e-20, 2e-20], {"patience": 2}),
    "tiny, max": ([1e-20, 2e-20, 3e-20, 2e-20, 2e-20], {"patience": 2, "mode": "max"}),
    "nan first": ([NAN, 2.0, 1.0, 2.0, NAN], {"patience": 2}),
    "zero": ([0.0, 1.0, 2.0, 3.0], {"patience": 2}),
    "huge": ([2e30, 2e30, 1e30, 2e30, 2e30], {"patience": 2}),
    "goes on after the stop": ([2.0, 3.0, 3.0, 1.0, 0.5, 3.0], {"patience": 2}),
}
OPTIONS = ({"patience": 0}, {"patience": 2, "min_delta": -0.5}, {"patience": 2, "min_delta": NAN})
RUNS = ((4, 20, 0.0), (0, 6, 0.5), (4, 8, 1.0), (5, 5, 0.25), (0, 1, 0.0), (0, 0, 0.125))
SEQUENCES = 40


def whole(rng, low, high):
    return int(randint(rng, low, high, 1))


def uniform(rng, low, high):
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def sequence(rng, kind):
    """Multiples of one power of 2, so that a gain of exactly min_delta is one however it is computed."""
    unit = 2.0 ** whole(rng, -70, 70)
    values = (randint(rng, -6, 9, 9) * unit).tolist()
    options = {"patience": whole(rng, 1, 4)}
    if kind == "any max":
        options["mode"] = "max"
    if kind == "any delta":
        options |= {"min_delta": whole(rng, 1, 4) * unit, "mode": ("min", "max")[whole(rng, 0, 2)]}
        walk = randint(rng, -1, 4, 9).cumsum(0) * unit  # gains that add up
        values = (walk if options["mode"] == "max" else -walk).tolist()
    if kind == "any nan":
        values = [NAN if whole(rng, 0, 3) == 0 else value for value in values]
    return [values, options]


def settings(rng):
    """Half of them make sense, each of the others lacks it in one place."""
    options = {
        "patience": whole(rng, 1, 9),
        "min_delta": uniform(rng, 0.0, 2.0),
        "mode": ("min", "max")[whole(rng, 0, 2)],
    }
    wrong = [{"patience": -whole(rng, 0, 4)}, {"min_delta": -uniform(rng, 0.1, 2.0)}, {"mode": "mean"}, {}, {}, {}]
    return options | wrong[whole(rng, 0, len(wrong))]


def cases(rng):
    for kind in ("any min", "any max", "any delta", "any nan"):
        yield Case(kind, of=STEP, sequences=[sequence(rng, kind) for _ in range(SEQUENCES)])
    yield Case("made with any options", of=INIT, options=[settings(rng) for _ in range(60)])
    for name, (values, options) in VALUES.items():
        yield Case(name, of=STEP, values=values, options=options)
    yield Case("one tensor", of=STEP, values=[3.0, 2.0, 1.0, 2.0, 2.0], options={"patience": 2})
    yield Case("a copy", of=STEP, values=[2.0, 4.0, 3.0], options={"patience": 2, "mode": "max"})
    for options in (*OPTIONS, {"patience": 2, "mode": "auto"}):
        yield Case(f"made with {options}", of=INIT, options=options)
    for step_size in (1, 3, 7):
        yield decay(rng, f"{step_size=}", list(range(12)), step_size)
    yield decay(rng, "any step_size", randint(rng, 0, 40, 12).tolist(), whole(rng, 2, 9))
    for epoch, step_size in ((-1, 2), (3, 0)):
        yield decay(rng, f"{epoch=} {step_size=}", [epoch], step_size)
    for warmup, total, lowest in RUNS:
        yield cosine(rng, f"{warmup} of {total}", list(range(total + 4)), warmup, total, lowest)
    warmup, total = whole(rng, 2, 9), whole(rng, 12, 30)
    yield cosine(rng, "any of any", list(range(total + 4)), warmup, total, 0.25)
    for step, warmup, total in ((-1, 2, 8), (3, -1, 8), (3, 9, 8)):
        yield cosine(rng, f"{step=} {warmup=}", [step], warmup, total, 0.0)


def decay(rng, name, epochs, step_size):
    base_lr, gamma = uniform(rng, 0.2, 2.0), uniform(rng, 0.3, 0.7)
    return Case(name, of="step_lr", epochs=epochs, step_size=step_size, base_lr=base_lr, gamma=gamma)


def cosine(rng, name, steps, warmup, total, lowest):
    options = {"base_lr": uniform(rng, 1.5, 2.5), "warmup_steps": warmup, "total_steps": total}
    options["min_lr"] = lowest * uniform(rng, 0.8, 1.2)
    return Case(name, of="warmup_cosine_lr", steps=steps, options=options)


def run(kata, case):
    if case.of == "step_lr":
        return rates(kata.step_lr(case.base_lr, epoch, case.step_size, case.gamma) for epoch in case.epochs)
    if case.of == "warmup_cosine_lr":
        return rates(kata.warmup_cosine_lr(step, **case.options) for step in case.steps)
    if case.name == "made with any options":
        return {"made": [made(kata, options) for options in case.options]}
    if hasattr(case, "sequences"):
        stoppers = [kata.EarlyStopping(**options) for _, options in case.sequences]
        pairs = zip(stoppers, case.sequences, strict=True)
        return {"answers": [[bool(stopper.step(value)) for value in values] for stopper, (values, _) in pairs]}
    stopper = kata.EarlyStopping(**case.options)
    if case.of == INIT:
        return {"made": True}
    if case.name == "one tensor":
        running = torch.zeros(())
        return {"answers": [bool(stopper.step(running.fill_(value))) for value in case.values], "value": running}
    answers = [stopper.step(value) for value in case.values]
    seen = {"answers": [bool(answer) for answer in answers], "bools": all(isinstance(a, bool) for a in answers)}
    if case.name == "a copy":
        other = copy.deepcopy(stopper)
        seen["after"] = [bool(s.step(v)) for s, v in ((other, 5.0), (stopper, 3.0), (other, 4.0))]
    return seen


def made(kata, options):
    try:
        kata.EarlyStopping(**options)
    except ValueError:
        return False
    return True


def rates(found):
    found = list(found)
    numbers = torch.tensor([float(rate) for rate in found], dtype=torch.float64)
    return {"rates": numbers, "floats": all(isinstance(rate, float) for rate in found)}
