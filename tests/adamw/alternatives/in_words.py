"""The formula line by line, with corrected moments of their own; a function without a class does the arithmetic, under a
decorator. The state is loaded without the base class."""

import copy

import torch
from torch.optim import Optimizer


@torch.no_grad()
def adamw(theta, g, m, v, t, *, lr, betas, eps, weight_decay):
    """m and v in place; returns the new theta in the dtype of the moments."""
    beta1, beta2 = betas
    g = g.type(m.dtype)
    m.lerp_(g, 1 - beta1)
    v *= beta2
    v.addcmul_(g, g, value=1 - beta2)
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    m_hat /= v_hat.sqrt_().add_(eps)
    return theta.type(m.dtype).mul(1 - lr * weight_decay).sub_(m_hat.mul_(lr))


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        fine = [lr >= 0, eps >= 0, weight_decay >= 0, *(0 <= beta and beta < 1 for beta in betas)]
        if False in fine:
            raise ValueError("an option is out of range")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def step(self, closure=None):
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            options = {name: value for name, value in group.items() if name in ("lr", "betas", "eps", "weight_decay")}
            for param in filter(lambda each: each.grad is not None, group["params"]):
                dtype = param.dtype if param.dtype == torch.float64 else torch.float32
                own = self.state[param] or {
                    "t": 0,
                    "moments": [torch.zeros_like(param.data, dtype=dtype) for _ in "mv"],
                }
                if "moments" in own:
                    own["m"], own["v"] = own.pop("moments")
                own["t"] = own["t"] + 1
                self.state[param] = own
                with torch.no_grad():
                    param[...] = adamw(param, param.grad, own["m"], own["v"], own["t"], **options)
        return loss

    def load_state_dict(self, state_dict):
        state_dict = copy.deepcopy(state_dict)
        self.state.clear()
        for mine, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            numbers = saved.pop("params")
            mine.update(saved)
            for param, number in zip(mine["params"], numbers, strict=True):
                if number in state_dict["state"]:
                    self.state[param] = state_dict["state"][number]
