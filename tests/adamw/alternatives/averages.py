"""Keeps the corrected averages themselves. A mean with weights beta^k is moved towards g by (1 - beta) / (1 - beta^t), so
there is no correction at the end, and the first step simply takes g. Loads by a hook."""

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0):
            raise ValueError("lr, eps and weight_decay must not be negative")
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError("betas must be in [0, 1)")
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def step(self, closure=None):
        result = self._evaluate(closure)
        with torch.no_grad():
            pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
            for group, p in pairs:
                self._move(p, **{name: group[name] for name in ("lr", "betas", "eps", "weight_decay")})
        return result

    @torch.enable_grad()
    def _evaluate(self, closure):
        return closure() if closure else None

    def _move(self, p, lr, betas, eps, weight_decay):
        g = p.grad if p.dtype == torch.float64 else p.grad.float()
        memory = self.state[p]
        if "mean" not in memory:
            memory.update(count=1, mean=g.clone(memory_format=torch.preserve_format), square=g.square())
        else:
            memory["count"] += 1
            shares = [(1 - beta) / (1 - beta ** memory["count"]) for beta in betas]
            memory["mean"].lerp_(g, shares[0])
            memory["square"].mul_(1 - shares[1]).addcmul_(g, g, value=shares[1])
        step = memory["mean"] / memory["square"].sqrt().add_(eps)
        moved = p.to(g.dtype) * (1 - lr * weight_decay)
        p.copy_(moved.sub_(step, alpha=lr))

    def load_state_dict(self, state_dict):
        order = [number for group in state_dict["param_groups"] for number in group["params"]]

        def put_back(optimizer):
            own = [p for group in optimizer.param_groups for p in group["params"]]
            for p, number in zip(own, order, strict=True):
                memory = state_dict["state"].get(number)
                if memory:
                    fresh = {key: memory[key].clone().to(p.device) for key in ("mean", "square")}
                    optimizer.state[p] = {"count": memory["count"], **fresh}

        handle = self.register_load_state_dict_post_hook(put_back)
        super().load_state_dict(state_dict)
        handle.remove()
