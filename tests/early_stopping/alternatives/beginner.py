"""A beginner's code: two branches for the two modes, a patience that is counted down, a loop that multiplies."""

import math


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        if patience < 1:
            raise ValueError("patience too small")
        if min_delta < 0 or min_delta != min_delta:
            raise ValueError("min_delta too small")
        if mode not in ["min", "max"]:
            raise ValueError("mode is min or max")
        self.patience = patience
        self.left = patience
        self.min_delta = min_delta
        self.mode = mode
        if mode == "min":
            self.best = float("inf")
        else:
            self.best = float("-inf")

    def is_better(self, value):
        if self.mode == "min":
            return value < self.best - self.min_delta
        return value > self.best + self.min_delta

    def step(self, value):
        value = float(value)
        if self.left == 0:
            return True
        if self.is_better(value):
            self.best = value
            self.left = self.patience
        else:
            self.left = self.left - 1
        return self.left == 0


def step_lr(base_lr, epoch, step_size, gamma):
    if epoch < 0:
        raise ValueError("epoch is negative")
    if step_size < 1:
        raise ValueError("step_size is not positive")
    lr = base_lr
    for e in range(1, epoch + 1):
        if e % step_size == 0:
            lr = lr * gamma
    return lr


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if step < 0 or warmup_steps < 0 or total_steps < warmup_steps:
        raise ValueError("impossible steps")
    if step >= total_steps:
        lr = min_lr
    elif step < warmup_steps:
        lr = base_lr * step / warmup_steps
    else:
        done = step - warmup_steps
        length = total_steps - warmup_steps
        lr = min_lr + 0.5 * (base_lr - min_lr) * (1.0 + math.cos(done / length * math.pi))
    return lr
