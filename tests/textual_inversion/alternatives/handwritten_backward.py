"""The lookup as an autograd function, whose backward adds up what stands at each new id."""

import torch
from torch import nn


class Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx, new, old, ids, vocab):
        place = (ids.reshape(-1) >= vocab).nonzero()[:, 0]
        row = ids.reshape(-1)[place] - vocab
        ctx.save_for_backward(place, row)
        ctx.count = len(new)
        flat = old.reshape(-1, old.shape[-1]).clone()
        flat[place] = new[row]
        return flat.reshape(old.shape)

    @staticmethod
    def backward(ctx, grad):
        place, row = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])[place]
        return rows.new_zeros(ctx.count, grad.shape[-1]).index_add_(0, row, rows), None, None, None


class LearnedTokens(nn.Module):
    def __init__(self, base, count, init_id):
        super().__init__()
        if count <= 0:
            raise ValueError(f"{count} new rows")
        if not (0 <= init_id <= base.num_embeddings - 1):
            raise ValueError(f"row {init_id}")
        if base.max_norm is not None:
            raise ValueError("the base renormalises")
        base.weight.requires_grad_(False)
        self.base = base
        start = torch.empty(count, base.embedding_dim, dtype=base.weight.dtype, device=base.weight.device)
        start.copy_(base.weight[init_id])
        self.new = nn.Parameter(start)

    def forward(self, ids):
        vocab = len(self.base.weight)
        if ids.device.type == "cpu":
            for id in (ids.min(), ids.max()) if ids.numel() else ():
                if id < 0 or id >= vocab + len(self.new):
                    raise ValueError(f"id {id}")
        old = torch.nn.functional.embedding(ids.clamp(0, vocab - 1), self.base.weight)
        return Lookup.apply(self.new, old, ids, vocab)

    def merged(self):
        base = self.base
        weight = base.weight.new_empty(base.num_embeddings + len(self.new), base.embedding_dim)
        weight[: base.num_embeddings].copy_(base.weight)
        weight[base.num_embeddings :].copy_(self.new.detach())
        table = nn.Embedding(*weight.shape, base.padding_idx, None, 2.0, base.scale_grad_by_freq, base.sparse, weight)
        return table.requires_grad_(False)


def prior_preservation_loss(prediction, target, *, prior_weight=1.0, weights=None):
    if prediction.ndim < 1 or prediction.size() != target.size():
        raise ValueError("prediction and target")
    if len(prediction) < 1 or len(prediction) % 2 != 0:
        raise ValueError("halves")
    if weights is not None and (weights.ndim != 1 or len(weights) != len(prediction)):
        raise ValueError("weights")
    if not prior_weight >= 0:
        raise ValueError("prior_weight")
    dtype = prediction.dtype if prediction.dtype == torch.float64 else torch.float32
    # [2, n * rest]: the halves are rows
    error = (prediction.to(dtype).sub(target.to(dtype)) ** 2).reshape(2, -1)
    if weights is not None:
        error = error * weights.to(dtype).repeat_interleave(error.numel() // len(weights)).reshape(2, -1)
    instance, prior = error.mean(dim=1).unbind()
    return torch.add(instance, prior, alpha=prior_weight)
