"""What can be seen of a stopper and of schedules: the answers to a sequence of values, and the rates of many steps."""

import copy

import torch

from dojo.probes import Case

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


def cases(rng):
    for name, (values, options) in VALUES.items():
        yield Case(name, of=STEP, values=values, options=options)
    yield Case("one tensor", of=STEP, values=[3.0, 2.0, 1.0, 2.0, 2.0], options={"patience": 2})
    yield Case("a copy", of=STEP, values=[2.0, 4.0, 3.0], options={"patience": 2, "mode": "max"})
    for options in (*OPTIONS, {"patience": 2, "mode": "auto"}):
        yield Case(f"made with {options}", of=INIT, options=options)
    for step_size in (1, 3, 7):
        yield Case(f"{step_size=}", of="step_lr", epochs=range(12), step_size=step_size)
    for epoch, step_size in ((-1, 2), (3, 0)):
        yield Case(f"{epoch=} {step_size=}", of="step_lr", epochs=[epoch], step_size=step_size)
    for warmup, total, lowest in RUNS:
        steps = range(total + 4)
        yield Case(
            f"{warmup} of {total}", of="warmup_cosine_lr", steps=steps, warmup=warmup, total=total, min_lr=lowest
        )
    for step, warmup, total in ((-1, 2, 8), (3, -1, 8), (3, 9, 8)):
        yield Case(f"{step=} {warmup=}", of="warmup_cosine_lr", steps=[step], warmup=warmup, total=total, min_lr=0.0)


def run(kata, case):
    if case.of == "step_lr":
        return rates(kata.step_lr(0.5, epoch, case.step_size, 0.3) for epoch in case.epochs)
    if case.of == "warmup_cosine_lr":
        options = {"base_lr": 2.0, "warmup_steps": case.warmup, "total_steps": case.total, "min_lr": case.min_lr}
        return rates(kata.warmup_cosine_lr(step, **options) for step in case.steps)
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


def rates(found):
    found = list(found)
    numbers = torch.tensor([float(rate) for rate in found], dtype=torch.float64)
    return {"rates": numbers, "floats": all(isinstance(rate, float) for rate in found)}
