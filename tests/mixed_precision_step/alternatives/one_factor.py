"""The norm of the scaled gradients decides all: whether to skip, and one factor that unscales and clips at once."""

import dataclasses
import math
from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    grad_norm: float
    skipped: bool


@dataclasses.dataclass
class LossScaler:
    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self):
        if self.init_scale <= 0:
            raise ValueError("init_scale")
        if self.growth_factor <= 1:
            raise ValueError("growth_factor")
        if self.backoff_factor <= 0 or self.backoff_factor >= 1:
            raise ValueError("backoff_factor")
        if self.growth_interval <= 0:
            raise ValueError("growth_interval")
        self._scale, self._left = self.init_scale, self.growth_interval

    @property
    def scale(self):
        return self._scale

    def scale_loss(self, loss):
        return loss.to(torch.float32).mul(self._scale) if loss.element_size() == 2 else loss.mul(self._scale)

    def unscale(self, grads):
        with torch.no_grad():
            finite = [torch.isfinite(grad.div_(self._scale).sum(dtype=torch.float64)) for grad in grads]
        return len(finite) > 0 and not torch.stack(finite).all().item()

    def update(self, found_inf):
        self._left = self.growth_interval if found_inf else self._left - 1
        if found_inf:
            self._scale *= self.backoff_factor
        elif self._left == 0:
            self._scale *= self.growth_factor
            self._left = self.growth_interval

    def state_dict(self):
        return {"at": [self._scale, self._left]}

    def load_state_dict(self, state):
        self._scale, self._left = state["at"]


class MasterWeights:
    def __init__(self, params):
        self.pairs = [(p, torch.nn.Parameter(torch.clone(p.detach()).to(torch.float32))) for p in params]
        self.masters = [master for _, master in self.pairs]

    def take_gradients(self):
        for param, master in self.pairs:
            master.grad = None
            if param.grad is not None:
                master.grad, param.grad = param.grad.float(), None

    def write_back(self):
        for param, master in self.pairs:
            param.detach().copy_(master.detach())


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if batches == []:
        raise ValueError("no micro-batch")
    if max_norm is not None and not 0 < max_norm:
        raise ValueError("max_norm")

    def passed(batch):
        loss = loss_fn(model, batch)
        scaler.scale_loss(loss).backward()
        return loss.detach().float()

    loss = sum(map(passed, batches)).item()
    masters.take_gradients()
    grads = [master.grad for master in masters.masters if master.grad is not None]
    norm = math.inf
    squares = torch.stack([grad.double().square().sum() for grad in grads]).sum() if grads else torch.zeros(())
    scaled_norm = squares.sqrt().item()
    skipped = not math.isfinite(scaled_norm)
    if not skipped:
        norm = scaled_norm / scaler.scale
        factor = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
        for grad in grads:
            grad *= factor / scaler.scale
        optimizer.step()
        masters.write_back()
    scaler.update(skipped)
    for tensor in [*masters.masters, *model.parameters()]:
        tensor.grad = None
    return StepResult(loss, norm, skipped)
