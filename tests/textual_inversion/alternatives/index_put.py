"""Looks all ids up in the base, and writes the new rows over the places of new ids. The loss takes each half by itself."""

import torch
from torch import nn
from torch.nn import functional as F


class LearnedTokens(nn.Module):
    def __init__(self, base, count, init_id):
        super().__init__()
        if count < 1 or init_id not in range(base.num_embeddings):
            raise ValueError(f"count={count}, init_id={init_id}")
        if base.max_norm is not None:
            raise ValueError("max_norm")
        self.base = base
        for parameter in base.parameters():
            parameter.requires_grad = False
        self.new = nn.Parameter(torch.stack([base.weight.data[init_id] for _ in range(count)]))

    def forward(self, ids):
        vocab = self.base.num_embeddings
        if ids.device.type == "cpu" and bool(((ids < 0) | (ids >= vocab + len(self.new))).any()):
            raise ValueError("an id outside both tables")
        is_new = ids > vocab - 1
        result = self.base(torch.minimum(ids, torch.tensor(vocab - 1)))
        result[is_new] = self.new[ids[is_new] - vocab]
        return result

    @torch.no_grad()
    def merged(self):
        options = {name: getattr(self.base, name) for name in ("padding_idx", "scale_grad_by_freq", "sparse")}
        rows = len(self.base.weight) + len(self.new)
        table = nn.Embedding(rows, self.new.shape[1], dtype=self.new.dtype, device=self.new.device, **options)
        table.weight[: -len(self.new)] = self.base.weight
        table.weight[-len(self.new) :] = self.new
        return table


def prior_preservation_loss(prediction, target, *, prior_weight=1.0, weights=None):
    if prediction.shape != target.shape or prediction.dim() == 0:
        raise ValueError("two tensors of one shape, with a batch")
    n, odd = divmod(prediction.shape[0], 2)
    if odd or n == 0:
        raise ValueError("two halves of one size")
    if prior_weight < 0 or prior_weight != prior_weight:
        raise ValueError("prior_weight")
    if weights is None:
        weights = torch.ones(2 * n, device=prediction.device)
    if list(weights.shape) != [2 * n]:
        raise ValueError("a weight for each sample")
    dtype = torch.float64 if prediction.dtype == torch.float64 else torch.float32
    prediction, target = prediction.to(dtype), target.to(dtype)
    weights = weights.to(dtype).reshape(-1, *[1] * (prediction.dim() - 1)).expand_as(prediction)

    def half(part):
        return (F.mse_loss(prediction[part], target[part], reduction="none") * weights[part]).mean()

    return half(slice(0, n)) + half(slice(n, None)) * prior_weight
