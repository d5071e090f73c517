"""torch.autograd.grad in place of backward, with gradients in lists; a generator of factors instead of a count."""

import math
from collections import namedtuple

import torch

StepResult = namedtuple("StepResult", ["loss", "grad_norm", "skipped"])


class WrongArgument(ValueError):
    pass


class LossScaler:
    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        for good, name in (
            (init_scale > 0, "init_scale"),
            (growth_factor > 1, "growth_factor"),
            (0 < backoff_factor < 1, "backoff_factor"),
            (growth_interval >= 1, "growth_interval"),
        ):
            if not good:
                raise WrongArgument(name)
        self.scale = float(init_scale)
        self.factors = {True: backoff_factor, False: growth_factor}
        self.interval, self.recent = growth_interval, []

    def scale_loss(self, loss):
        wide = loss if loss.dtype in (torch.float32, torch.float64) else loss.float()
        return self.scale * wide

    def unscale(self, grads):
        flags = torch.zeros(len(grads), dtype=torch.bool)
        for index, grad in enumerate(grads):
            torch.div(grad, self.scale, out=grad)
            flags[index] = ~((grad - grad) == 0).all()
        return bool(flags.any())

    def update(self, found_inf):
        self.recent.append(found_inf)
        if found_inf or len(self.recent) == self.interval:
            self.scale *= self.factors[found_inf]
            self.recent = []

    def state_dict(self):
        return {"scale": self.scale, "recent": list(self.recent)}

    def load_state_dict(self, state):
        self.scale, self.recent = state["scale"], list(state["recent"])


class MasterWeights(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        self.model = list(params)
        self.copies = torch.nn.ParameterList(p.detach().to(torch.float32, copy=True) for p in self.model)

    @property
    def masters(self):
        return list(self.copies)

    def take_gradients(self):
        for param, copy in zip(self.model, self.copies, strict=True):
            copy.grad = None if param.grad is None else param.grad.type(torch.float32)

    def write_back(self):
        with torch.inference_mode():
            for param, copy in zip(self.model, self.copies, strict=True):
                param.copy_(copy)


def train_step(model, batches, loss_fn, optimizer, masters, scaler, *, max_norm):
    if not batches or (max_norm is not None and not max_norm > 0):
        raise WrongArgument("batches or max_norm")
    params = [param for param in model.parameters() if param.requires_grad]
    loss = 0
    for param in params:
        param.grad = None
    for batch in batches:
        part = loss_fn(model, batch)
        loss = loss + part.detach().float()
        new = torch.autograd.grad(scaler.scale_loss(part), params, allow_unused=True)
        for param, grad in zip(params, new, strict=True):
            if grad is not None:
                param.grad = grad if param.grad is None else param.grad + grad
        del new
    masters.take_gradients()
    grads = [copy.grad for copy in masters.copies if copy.grad is not None]
    found = scaler.unscale(grads)
    norm = math.inf
    if not found:
        norm = torch.nn.utils.get_total_norm(grads).item() if grads else 0.0
        if max_norm and norm > max_norm:
            for grad in grads:
                grad.mul_(max_norm / norm)
        optimizer.step()
        masters.write_back()
    scaler.update(found)
    for tensor in (*params, *masters.copies):
        tensor.grad = None
    return StepResult(float(loss), norm, found)
