"""Small steps, plain loops, nothing clever."""

from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    grad_norm: float
    skipped: bool


class LossScaler:
    def __init__(self, init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        if init_scale <= 0:
            raise ValueError("init_scale must be positive")
        if growth_factor <= 1.0:
            raise ValueError("growth_factor must be larger than 1")
        if not (backoff_factor > 0.0 and backoff_factor < 1.0):
            raise ValueError("backoff_factor must be between 0 and 1")
        if growth_interval < 1:
            raise ValueError("growth_interval must be 1 or more")
        self.scale = init_scale
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.count = 0

    def scale_loss(self, loss):
        if loss.dtype == torch.float16 or loss.dtype == torch.bfloat16:
            loss = loss.float()
        return loss * self.scale

    def unscale(self, grads):
        number_of_bad = 0
        for grad in grads:
            grad.copy_(grad / self.scale)
            number_of_bad = number_of_bad + torch.isinf(grad).sum() + torch.isnan(grad).sum()
        return bool(number_of_bad > 0)

    def update(self, found_inf):
        if found_inf:
            self.scale = self.scale * self.backoff_factor
            self.count = 0
        else:
            self.count = self.count + 1
            if self.count >= self.growth_interval:
                self.scale = self.scale * self.growth_factor
                self.count = 0

    def state_dict(self):
        return {
            "scale": self.scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "count": self.count,
        }

    def load_state_dict(self, state):
        for name in state:
            setattr(self, name, state[name])


class MasterWeights:
    def __init__(self, params):
        self.model_params = []
        self.masters = []
        for param in params:
            self.model_params.append(param)
            master = torch.zeros(param.shape, dtype=torch.float32, device=param.device)
            master.copy_(param.detach())
            master.requires_grad = True
            self.masters.append(master)

    def take_gradients(self):
        for i in range(len(self.masters)):
            grad = self.model_params[i].grad
            if grad is None:
                self.masters[i].grad = None
            else:
                self.masters[i].grad = grad.detach().clone().float()

    def write_back(self):
        for i in range(len(self.masters)):
            self.model_params[i].data.copy_(self.masters[i].data)


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if len(batches) == 0:
        raise ValueError("there are no batches")
    if max_norm is not None and not max_norm > 0:
        raise ValueError("max_norm must be positive")
    for param in masters.model_params:
        param.grad = None
    optimizer.zero_grad()

    losses = []
    for batch in batches:
        loss = loss_fn(model, batch)
        scaled_loss = scaler.scale_loss(loss)
        scaled_loss.backward()
        losses.append(loss.detach().float())

    masters.take_gradients()
    for param in masters.model_params:
        param.grad = None
    grads = []
    for master in masters.masters:
        if master.grad is not None:
            grads.append(master.grad)
    found_inf = scaler.unscale(grads)

    if found_inf:
        grad_norm = float("inf")
    else:
        total = torch.zeros(1)
        for grad in grads:
            total = total + (grad**2).sum()
        norm = torch.sqrt(total)
        if max_norm is not None:
            factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
            for grad in grads:
                grad.mul_(factor.squeeze())
        grad_norm = norm.item()
        optimizer.step()
        masters.write_back()
    optimizer.zero_grad()
    scaler.update(found_inf)
    return StepResult(loss=sum(losses).item(), grad_norm=grad_norm, skipped=found_inf)
