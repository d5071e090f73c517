"""All parameters of a group and dtype at a time, with torch's operators over lists of tensors. The counts are tensors of
float64 under the key that torch does not cast."""

from collections import defaultdict

import torch
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        checked = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        if any(not 0 <= value for value in checked.values()):
            raise ValueError(f"negative or NaN: {checked}")
        if min(betas) < 0 or not max(betas) < 1 or betas[0] != betas[0] or betas[1] != betas[1]:
            raise ValueError(f"betas: {betas}")
        super().__init__(params, checked | {"betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            kinds = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    kinds[param.dtype, param.device].append(param)
            for (dtype, _), params in kinds.items():
                self._step_of(params, torch.promote_types(dtype, torch.float32), group)
        return loss

    def _step_of(self, params, wide, group):
        beta1, beta2 = group["betas"]
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=False):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float64)
                state.update((name, torch.zeros_like(param, dtype=wide)) for name in MOMENTS)
            state["step"] += 1
        counts = [float(state["step"]) for state in states]
        first, second = ([state[name] for state in states] for name in MOMENTS)
        grads = [param.grad.to(wide) for param in params]
        thetas = [param.to(wide) for param in params]
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, [(1 - beta2**count) ** 0.5 for count in counts])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_mul_(thetas, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(thetas, first, roots, [-group["lr"] / (1 - beta1**count) for count in counts])
        for param, theta in zip(params, thetas, strict=False):
            if param.dtype != wide:
                param.copy_(theta)

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        ours, theirs = (
            [p for group in groups for p in group["params"]]
            for groups in (self.param_groups, state_dict["param_groups"])
        )
        for param, key in zip(ours, theirs, strict=False):
            if key in state_dict["state"]:
                loaded = state_dict["state"][key]
                self.state[param].update({name: loaded[name].to(param.device, copy=True) for name in MOMENTS})
