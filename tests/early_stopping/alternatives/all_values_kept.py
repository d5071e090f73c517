"""Keeps every value and judges the whole list anew: a pure function of the history inside a thin class."""

import math


def _epochs_without_improvement(values, min_delta):
    best, waiting = math.inf, 0
    for value in values:
        improved = best - value > min_delta
        best, waiting = (value, 0) if improved else (best, waiting + 1)
    return waiting


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        if patience <= 0:
            raise ValueError("patience starts at 1")
        if min_delta < 0 or math.isnan(min_delta):
            raise ValueError("min_delta is a distance")
        if mode != "min" and mode != "max":
            raise ValueError(f"unknown mode {mode}")
        self.options, self.mode, self.values, self.done = (patience, min_delta), mode, [], False

    def step(self, value):
        number = float(value)
        self.values.append(number if self.mode == "min" else -number)
        patience, min_delta = self.options
        self.done |= _epochs_without_improvement(self.values, min_delta) >= patience
        return self.done


def step_lr(base_lr, epoch, step_size, gamma):
    if epoch < 0 or step_size < 1:
        raise ValueError("epoch from 0, step_size from 1")
    return base_lr * math.pow(gamma, math.floor(epoch / step_size))


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if step < 0 or warmup_steps < 0 or warmup_steps > total_steps:
        raise ValueError("steps out of order")
    if step < min(warmup_steps, total_steps):
        return step / warmup_steps * base_lr
    rest = max(total_steps - warmup_steps, 1)
    progress = min((step - warmup_steps) / rest, 1.0) if step < total_steps else 1.0
    weight = math.cos(math.pi / 2 * progress) ** 2 if progress < 1 else 0.0  # half the angle, squared
    return weight * base_lr + (1 - weight) * min_lr
