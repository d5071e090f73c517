"""Each micro-batch's gradients are added in float32, as large trainers do. Counts steps since the last overflow."""

import math
from typing import NamedTuple

import torch
from torch import nn


class StepResult(NamedTuple):
    loss: float
    grad_norm: float
    skipped: bool


class LossScaler:
    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        conditions = (init_scale > 0, growth_factor > 1, 1 > backoff_factor > 0, growth_interval > 0)
        if not all(conditions):
            raise ValueError(f"unmet condition {conditions.index(False)}")
        self.scale = init_scale
        self.growth_factor, self.backoff_factor, self.window = growth_factor, backoff_factor, growth_interval
        self.steps = self.last_overflow = 0

    def scale_loss(self, loss):
        return (loss.float() if loss.dtype in (torch.float16, torch.bfloat16) else loss) * self.scale

    def unscale(self, grads):
        bad = [torch.zeros((), dtype=torch.bool)]
        for grad in grads:
            grad.mul_(1 / self.scale)
            bad.append(torch.logical_not(torch.isfinite(grad)).any())
        return bool(torch.stack(bad).any())

    def update(self, found_inf):
        self.steps += 1
        if found_inf:
            self.scale = max(self.scale * self.backoff_factor, 2.0**-14)
            self.last_overflow = self.steps
        elif (self.steps - self.last_overflow) % self.window == 0:
            self.scale = min(self.scale * self.growth_factor, 2.0**24)

    def state_dict(self):
        return {"scale": self.scale, "steps": self.steps, "last": self.last_overflow}

    def load_state_dict(self, state):
        self.scale = state["scale"]
        self.steps = state["steps"]
        self.last_overflow = state["last"]


class MasterWeights:
    def __init__(self, params):
        self.params = tuple(params)
        self.masters = []
        for param in self.params:
            master = param.detach().clone().float()
            self.masters.append(master.requires_grad_(param.requires_grad))

    def clear(self):
        for tensor in (*self.params, *self.masters):
            tensor.grad = None

    def add_gradients(self):
        for param, master in zip(self.params, self.masters, strict=True):
            if param.grad is None:
                continue
            if master.grad is None:
                master.grad = param.grad.float()
            else:
                master.grad += param.grad
            param.grad = None

    def take_gradients(self):
        for master in self.masters:
            master.grad = None
        self.add_gradients()

    def write_back(self):
        for param, master in zip(self.params, self.masters, strict=True):
            param.data.copy_(master.data)


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if not len(batches):
        raise ValueError("no micro-batches")
    if max_norm is None:
        max_norm = math.inf
    elif not max_norm > 0:
        raise ValueError("max_norm is not positive")
    masters.clear()
    loss = torch.zeros(())
    for batch in batches:
        part = loss_fn(model, batch)
        (part.float() * scaler.scale).backward()
        loss += part.detach()
        masters.add_gradients()
    skipped = scaler.unscale([master.grad for master in masters.masters if master.grad is not None])
    if skipped:
        norm = math.inf
    else:
        norm = nn.utils.clip_grad_norm_(masters.masters, max_norm, foreach=False).item()
        optimizer.step()
        masters.write_back()
    masters.clear()
    scaler.update(skipped)
    return StepResult(loss.item(), norm, skipped)
