"""AdamW, as an optimizer of PyTorch.

Write AdamW as a PyTorch optimizer. Where does the weight decay go, where does eps go, and why the bias correction?

Every parameter theta has two moments m and v, which begin as zeros, and its own count t of steps. With the gradient g,
a step makes t one larger and computes
    m     = beta1 m + (1 - beta1) g
    v     = beta2 v + (1 - beta2) g^2
    theta = (1 - lr weight_decay) theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
where the theta on the right is the one before the step. So the decay is multiplied by the learning rate, as torch has
it, and eps stands outside the root, beside the corrected v.

Numbers: everything is computed in float32 for float16 and bfloat16 parameters, and in the parameter's dtype for float32
and float64. The moments have that dtype as well. A float16 or bfloat16 parameter is rounded once, at the end of its step.
The bias corrections are as exact as Python's floats. Gradients are dense and have the dtype of their parameter.

Rules: torch.optim.Optimizer is allowed. Adam and its relatives in torch.optim, and the fused operators that they are made
of (torch._fused_adamw_ and torch._fused_adam_), are not.

Stage 1: a parameter and its steps.  Stage 2: several parameters, groups, missing gradients, the closure, saving and
loading, schedulers, wrong arguments.  Stage 3: eps, scales, every floating dtype, no graph.  Stage 4: the bytes of the
state and of a step, no loop over elements.

Sources: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015); Loshchilov and Hutter, "Decoupled Weight
Decay Regularization" (2019), whose decay is not multiplied by lr, but by the multiplier of the schedule.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    `param_groups` is a list of dicts, as with any optimizer of torch: "params", "lr", "betas", "eps" and
    "weight_decay". A step reads the options of the group that its parameter is in, as they are then: a scheduler writes
    "lr" there. How a change of betas between steps enters the bias correction is up to you.
    `state[param]` is a dict that holds the two moments and the count, whatever their names. Groups may be added later.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        """`params` are parameters, or groups: dicts with "params", whose other entries are options of this group alone.

        Raises ValueError unless lr, eps and weight_decay are at least 0, and both betas at least 0 and below 1; NaN is
        neither. Whether the options of single groups are checked as well is up to you.
        """
        # kata: begin
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, got {betas}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        # kata: end

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient, in place. Returns what the closure returned, None without one.

        The closure, which computes the loss and its gradients, is called once, before anything is updated, with
        gradients enabled, also under torch.no_grad(). The update records no graph, even if a gradient carries one.
        A parameter whose .grad is None is left as it is: no decay, and no step is counted. Gradients are not modified.

        For float32 parameters it reads and writes at most 33 times as many numbers as the parameters have, all that goes
        into and comes out of each operator counted. Between
        steps the optimizer holds two float32 (or float64) numbers for each parameter, and little else.
        """
        # kata: begin
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                lr, (beta1, beta2) = group["lr"], group["betas"]
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    wide = torch.promote_types(param.dtype, torch.float32)
                    state = self.state[param]
                    if not state:
                        state["step"] = 0
                        state["exp_avg"] = torch.zeros_like(param, dtype=wide)
                        state["exp_avg_sq"] = torch.zeros_like(param, dtype=wide)
                    state["step"] += 1
                    m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
                    grad, theta = param.grad.to(wide), param.to(wide)  # the same tensors where they are wide already
                    m.lerp_(grad, 1 - beta1)
                    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                    root = v.sqrt().div_(math.sqrt(1 - beta2**t)).add_(group["eps"])  # eps beside the corrected root
                    theta.mul_(1 - lr * group["weight_decay"]).addcdiv_(m, root, value=-lr / (1 - beta1**t))
                    if theta is not param:
                        param.copy_(theta)
        return loss
        # kata: end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on exactly where the optimizer that gave state_dict stood, in every dtype.

        state_dict() is torch's, and has tensors and plain Python numbers only, so that torch.load takes it back with
        weights_only=True. It refers to the state, and loading may take its tensors over: the caller saves or copies it.
        torch's own load_state_dict casts floating tensors of the state to the dtype of their parameter, except one
        whose key is "step": moments of a bfloat16 parameter come back rounded.
        """
        # kata: begin
        super().load_state_dict(state_dict)
        own = [param for group in self.param_groups for param in group["params"]]
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        for param, index in zip(own, saved, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[param][name] = value.to(param.device)  # as it was saved
        # kata: end
