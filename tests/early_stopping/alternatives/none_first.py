"""The usual class of the field: best is None at first (so even an infinite first value is the best one), the mode picks
an operator, and the age of the best epoch is compared with the patience."""

import math
import operator


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        if patience < 1 or not min_delta >= 0:
            raise ValueError("patience >= 1 and min_delta >= 0, please")
        try:
            self.better, self.slack = {"min": (operator.lt, -min_delta), "max": (operator.gt, min_delta)}[mode]
        except KeyError:
            raise ValueError(f"mode {mode!r}") from None
        self.patience = patience
        self.best_value = None
        self.best_epoch = self.epoch = 0
        self.stopped = False

    def is_better(self, value):
        if math.isnan(value):
            return False
        return self.best_value is None or self.better(value, self.best_value + self.slack)

    def step(self, value):
        value = float(value)
        self.epoch += 1
        if self.is_better(value):
            self.best_value, self.best_epoch = value, self.epoch
        if self.epoch - self.best_epoch >= self.patience:
            self.stopped = True
        return self.stopped


def step_lr(base_lr, epoch, step_size, gamma):
    if step_size <= 0:
        raise ValueError("step_size must be positive")
    if epoch < 0:
        raise ValueError("there is no epoch before 0")
    decays, _ = divmod(epoch, step_size)
    return base_lr * gamma**decays


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if step < 0:
        raise ValueError("there is no step before 0")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError("the warm-up must fit into the run")
    if step < warmup_steps:
        return base_lr * (step / warmup_steps)
    if step >= total_steps:
        return float(min_lr)
    angle = math.pi * (step - warmup_steps) / (total_steps - warmup_steps)
    return 0.5 * (base_lr + min_lr) + 0.5 * (base_lr - min_lr) * math.cos(angle)
