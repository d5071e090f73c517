"""Counts how often it has been asked since the best value; a property says whether it has stopped. Complex numbers turn
the cosine; step decay recurses over plateaus."""

import cmath
import math


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        match mode:
            case "min":
                self.gain = lambda best, value: best - value
            case "max":
                self.gain = lambda best, value: value - best
            case _:
                raise ValueError(f"mode {mode!r} is not known")
        if not (patience >= 1 and min_delta >= 0):
            raise ValueError("patience >= 1, min_delta >= 0")
        self.patience, self.min_delta = patience, min_delta
        self.best, self.since_best = None, 0

    @property
    def stopped(self):
        return self.since_best >= self.patience

    def step(self, value):
        if not self.stopped:
            number = value.item() if hasattr(value, "item") else float(value)
            first = self.best is None and not math.isnan(number)
            if first or (self.best is not None and self.gain(self.best, number) > self.min_delta):
                self.best, self.since_best = number, 0
            else:
                self.since_best += 1
        return self.stopped


def step_lr(base_lr, epoch, step_size, gamma):
    if step_size < 1 or epoch < 0:
        raise ValueError("no such epoch or step size")
    if epoch < step_size:
        return base_lr
    return gamma * step_lr(base_lr, epoch - step_size, step_size, gamma)


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if step < 0 or not (0 <= warmup_steps <= total_steps):
        raise ValueError("steps out of order")
    if step < warmup_steps:
        return base_lr - base_lr * (warmup_steps - step) / warmup_steps
    if step >= total_steps:
        return min_lr
    turn = cmath.exp(1j * cmath.pi * (step - warmup_steps) / (total_steps - warmup_steps))
    return min_lr + (base_lr - min_lr) * (0.5 + 0.5 * turn.real)
