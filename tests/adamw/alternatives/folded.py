"""The corrections folded into the learning rate, as Kingma and Ba propose: then eps has to be scaled with the root of v's
correction. The powers of the betas are kept as running products in place of a count."""

from math import sqrt

import torch
from torch.optim import Optimizer


def narrow(dtype):
    return dtype in (torch.float16, torch.bfloat16)


class AdamW(Optimizer):
    def __init__(self, params, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        beta1, beta2 = betas
        for name, fine in (
            ("lr", lr >= 0.0),
            ("eps", eps >= 0.0),
            ("weight_decay", weight_decay >= 0.0),
            ("beta1", 0.0 <= beta1 < 1.0),
            ("beta2", 0.0 <= beta2 < 1.0),
        ):
            if not fine:
                raise ValueError(f"{name} is out of range")
        defaults = {"weight_decay": weight_decay, "eps": eps, "betas": (beta1, beta2), "lr": lr}
        super().__init__(params, defaults)

    def step(self, closure=None):
        loss = None
        if callable(closure):
            with torch.set_grad_enabled(True):
                loss = closure()
        for options in self.param_groups:
            for weight in options["params"]:
                if weight.grad is not None:
                    self.update(weight.data, weight.grad.detach(), self.state[weight], options)
        return loss

    def update(self, theta, grad, memory, options):
        beta1, beta2 = options["betas"]
        memory["powers"] = power1, power2 = [
            p * b for p, b in zip(memory.get("powers", (1.0, 1.0)), (beta1, beta2), strict=False)
        ]
        if narrow(theta.dtype):
            grad = grad.float()
        if "m" not in memory:
            memory["m"], memory["v"] = torch.zeros_like(grad), torch.zeros_like(grad)
        memory["m"].mul_(beta1).add_(grad, alpha=1 - beta1)
        memory["v"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        scale = sqrt(1 - power2)
        denominator = memory["v"].sqrt().add_(options["eps"] * scale)
        rate = options["lr"] * scale / (1 - power1)
        keep = 1 - options["lr"] * options["weight_decay"]
        if narrow(theta.dtype):
            theta.copy_(keep * theta.float() - rate * (memory["m"] / denominator))
        else:
            theta.mul_(keep).addcdiv_(memory["m"], denominator, value=-rate)

    def load_state_dict(self, state_dict):
        """Nothing is cast where every parameter seems to have no state; that is filled in afterwards."""
        super().load_state_dict({**state_dict, "state": {}})
        weights = (weight for group in self.param_groups for weight in group["params"])
        numbers = (number for group in state_dict["param_groups"] for number in group["params"])
        for weight, number in zip(weights, numbers, strict=False):
            memory = state_dict["state"].get(number, {})
            for key, value in memory.items():
                is_tensor = isinstance(value, torch.Tensor)
                self.state[weight][key] = value.detach().clone().to(weight.device) if is_tensor else list(value)
