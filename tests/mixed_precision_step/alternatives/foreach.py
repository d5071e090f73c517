"""Fused operators over lists of tensors, and the norm by hand."""

import math
from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    grad_norm: float
    skipped: bool


class LossScaler:
    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        wrong = init_scale <= 0 or growth_factor <= 1 or backoff_factor <= 0 or backoff_factor >= 1
        if wrong or growth_interval < 1:
            raise ValueError("wrong arguments")
        self.scale = init_scale
        self._factors, self._interval, self._tracker = (growth_factor, backoff_factor), growth_interval, 0

    def scale_loss(self, loss):
        return torch.mul(loss, torch.tensor(self.scale, dtype=torch.float32, device=loss.device))

    def unscale(self, grads):
        if len(grads) == 0:
            return False
        torch._foreach_mul_(grads, 1.0 / self.scale)
        largest = torch._foreach_norm(grads, math.inf)
        return not math.isfinite(torch.stack(largest).max().item())

    def update(self, found_inf):
        self._tracker += 1
        if found_inf:
            self.scale, self._tracker = self.scale * self._factors[1], 0
        if self._tracker == self._interval:
            self.scale, self._tracker = self.scale * self._factors[0], 0

    def state_dict(self):
        return dict(scale=self.scale, tracker=self._tracker, factors=self._factors, interval=self._interval)

    def load_state_dict(self, state):
        self.scale, self._tracker = state["scale"], state["tracker"]
        self._factors, self._interval = tuple(state["factors"]), state["interval"]


class MasterWeights:
    def __init__(self, params):
        self.model = [*params]
        self.masters = [torch.empty_like(p, dtype=torch.float32, requires_grad=True) for p in self.model]
        with torch.no_grad():
            torch._foreach_copy_(self.masters, self.model)

    def take_gradients(self):
        for param, master in zip(self.model, self.masters, strict=True):
            master.grad = param.grad if param.grad is None else param.grad.to(torch.float32)

    @torch.no_grad()
    def write_back(self):
        torch._foreach_copy_(self.model, self.masters)


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if len(batches) < 1 or (max_norm is not None and (max_norm <= 0 or math.isnan(max_norm))):
        raise ValueError("wrong arguments")
    losses = []
    for batch in batches:
        losses.append(loss_fn(model, batch))
        scaler.scale_loss(losses[-1]).backward()
        losses[-1] = losses[-1].detach().double()
    masters.take_gradients()
    grads = [m.grad for m in masters.masters if m.grad is not None]
    skipped, norm = scaler.unscale(grads), math.inf
    if not skipped:
        norm = torch.stack(torch._foreach_norm(grads)).norm().item() if grads else 0.0
        if max_norm is not None and norm > max_norm:
            torch._foreach_mul_(grads, max_norm / norm)
        optimizer.step()
        masters.write_back()
    scaler.update(skipped)
    optimizer.zero_grad(set_to_none=False)
    model.zero_grad()
    return StepResult(torch.stack(losses).sum().item(), norm, skipped)
