"""The state is an immutable tuple that each step replaces; the schedules interpolate with NumPy."""

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    best: float
    waited: int
    stopped: bool


def advance(state, value, patience, min_delta):
    if state.stopped:
        return state
    if state.best - value > min_delta:
        return State(value, 0, False)
    return State(state.best, state.waited + 1, state.waited + 1 >= patience)


class EarlyStopping:
    __slots__ = ("min_delta", "patience", "sign", "state")

    def __init__(self, patience, min_delta=0.0, mode="min"):
        if int(patience) < 1 or np.isnan(min_delta) or min_delta < 0:
            raise ValueError("patience from 1, min_delta from 0")
        signs = {"min": +1.0, "max": -1.0}
        if mode not in signs:
            raise ValueError(f"mode: one of {sorted(signs)}")
        self.patience, self.min_delta, self.sign = patience, min_delta, signs[mode]
        self.state = State(float("inf"), 0, False)

    def step(self, value):
        self.state = advance(self.state, self.sign * float(value), self.patience, self.min_delta)
        return self.state.stopped


def step_lr(base_lr, epoch, step_size, gamma):
    if min(epoch, step_size - 1) < 0:
        raise ValueError("epoch >= 0 and step_size >= 1")
    return float(base_lr * np.power(float(gamma), epoch // step_size))


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if min(step, warmup_steps, total_steps - warmup_steps) < 0:
        raise ValueError("0 <= warmup_steps <= total_steps, 0 <= step")
    if step < warmup_steps:
        return float(np.interp(step, [0, warmup_steps], [0.0, base_lr]))
    if warmup_steps == total_steps:
        return float(min_lr)
    angle = np.interp(step, [warmup_steps, total_steps], [0.0, np.pi])  # clamps at both ends
    return float(min_lr + (base_lr - min_lr) * np.sin((np.pi - angle) / 2) ** 2)
