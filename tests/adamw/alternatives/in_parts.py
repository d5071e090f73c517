"""Parts of a few thousand elements, so that what is made on the way stays small. The moments of a parameter are the two rows of
no tensor, but two of a list; exponents in place of powers."""

import math

import torch
from torch.optim import Optimizer

PART = 4096


def parts(tensor):
    return tensor.reshape(-1).split(PART) if tensor.numel() else ()


def one_minus_power(beta, t):
    return -math.expm1(t * math.log(beta)) if beta > 0 else 1.0


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        for number in (lr, eps, weight_decay):
            if math.isnan(number) or number < 0:
                raise ValueError(f"{number} is negative or NaN")
        for number in betas:
            if math.isnan(number) or number < 0 or number >= 1:
                raise ValueError(f"a beta of {number}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def step(self, closure=None):
        value = None
        if closure is not None:
            before = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            try:
                value = closure()
            finally:
                torch.set_grad_enabled(before)
        with torch.inference_mode(False), torch.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    self.one(param, group)
        return value

    def one(self, param, group):
        kind = torch.float64 if param.dtype == torch.float64 else torch.float32
        if param not in self.state:
            zeros = [torch.zeros(param.shape, dtype=kind, device=param.device) for _ in range(2)]
            self.state[param] = {"t": 0, "m": zeros[0], "v": zeros[1]}
        memory = self.state[param]
        memory["t"] += 1
        beta1, beta2 = group["betas"]
        c1, c2 = one_minus_power(beta1, memory["t"]), one_minus_power(beta2, memory["t"])
        together = zip(parts(param), parts(param.grad), parts(memory["m"]), parts(memory["v"]), strict=True)
        moved = []
        for theta, g, m, v in together:
            g = g.to(kind)
            m.add_(g - m, alpha=1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            down = torch.sqrt(v).mul_(c2**-0.5).add_(group["eps"])
            kept = theta.to(kind).mul(1 - group["lr"] * group["weight_decay"])
            moved.append(kept.addcdiv_(m, down, value=-group["lr"] / c1))
        if moved:
            whole = moved[0] if len(moved) == 1 else torch.cat(moved)
            param.copy_(whole.view(param.shape))

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        ids = {}
        for group, old in zip(self.param_groups, state_dict["param_groups"], strict=False):
            ids.update(zip(old["params"], group["params"], strict=False))
        for number, memory in state_dict["state"].items():
            param = ids[number]
            self.state[param] = {
                key: value.clone().to(param.device) if torch.is_tensor(value) else value
                for key, value in memory.items()
            }
