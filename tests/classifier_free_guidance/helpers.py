"""What any right classifier-free guidance does. Which half of the batch is the unconditional one is nowhere asked."""

import torch


class Denoiser:
    """eps = (weight + embedding of cond) x sin((t + 1) x): each row depends on its own x, t and condition, and not
    linearly. Remembers how many rows each call had."""

    def __init__(self):
        self.weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        self.rows = []

    def __call__(self, x, t, cond):
        self.rows.append([len(x), len(t), len(cond)])
        gain = self.weight + cond.double().flatten(1).cos().sum(1) if cond.dim() > 1 else self.weight + cond.double()
        trailing = [1] * (x.dim() - 1)
        return gain.to(x.dtype).reshape(-1, *trailing) * torch.sin((t.reshape(-1, *trailing) + 1) * x)
