"""Tensors and out= arguments, a buffer for each step; the count is a tensor, read as a number; the moments are read back
from state_dict by the pre-hook, which keeps them away from the base class."""

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer


class AdamW(Optimizer):
    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon: {eps}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight decay: {weight_decay}")
        for index in (0, 1):
            if not 0.0 <= betas[index] < 1.0:
                raise ValueError(f"Invalid beta at index {index}: {betas[index]}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                self.begin(p)

    def begin(self, p: Tensor) -> None:
        wide = p.dtype if p.dtype.itemsize >= 4 else torch.float32
        with torch.no_grad():
            m = torch.zeros_like(p, dtype=wide, requires_grad=False)
        self.state[p] = {"m": m, "v": m.clone(), "n": torch.tensor(0)}

    def add_param_group(self, group):
        super().add_param_group(group)

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        torch._foreach_add_([self.state[p]["n"] for p in self.having()], 1) if self.having() else None
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.move(p, group)
        return loss

    def having(self):
        every = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p in every:
            if p not in self.state:
                self.begin(p)
        return every

    def move(self, p: Tensor, group: dict) -> None:
        m, v, n = self.state[p]["m"], self.state[p]["v"], self.state[p]["n"].item()
        b1, b2 = group["betas"]
        g = p.grad.to(m.dtype)
        torch.lerp(m, g, 1.0 - b1, out=m)
        buffer = torch.mul(g, g)
        torch.lerp(v, buffer, 1.0 - b2, out=v)
        torch.sqrt(v, out=buffer)
        buffer.div_((1.0 - b2**n) ** 0.5).add_(group["eps"])
        torch.div(m, buffer, out=buffer)
        theta = p.detach().to(m.dtype)
        torch.mul(theta, 1.0 - group["lr"] * group["weight_decay"], out=theta)
        theta.sub_(buffer, alpha=group["lr"] / (1.0 - b1**n))
        if theta.dtype != p.dtype:
            p.copy_(theta)

    def load_state_dict(self, state_dict):
        kept = state_dict["state"]
        super().load_state_dict(dict(state_dict, state={}))
        index = 0
        for group in self.param_groups:
            for p in group["params"]:
                key = [number for old in state_dict["param_groups"] for number in old["params"]][index]
                index += 1
                if key in kept:
                    self.state[p] = {
                        name: value.detach().clone().to(p.device if value.dim() else "cpu")
                        for name, value in kept[key].items()
                    }
                else:
                    self.begin(p)
