"""Joins the new rows with those old rows alone that the ids name, and looks up in this small table."""

import copy

import torch
from torch import nn


class LearnedTokens(nn.Module):
    def __init__(self, base, count, init_id):
        super().__init__()
        vocab = base.weight.shape[0]
        for fault, wrong in (("count", count < 1), ("init_id", init_id < 0 or init_id >= vocab)):
            if wrong:
                raise ValueError(fault)
        if base.max_norm is not None:
            raise ValueError("max_norm")
        base.weight.requires_grad_(False)
        self.base, self.vocab = base, vocab
        self.register_parameter("new", nn.Parameter(base.weight[init_id].expand(count, -1).clone()))

    def forward(self, ids):
        used, places = torch.unique(ids, return_inverse=True)  # sorted, so the new ids are the last
        if len(used) and not (used[0] >= 0 and used[-1] < self.vocab + len(self.new)):
            raise ValueError("an id outside both tables")
        old = used[used < self.vocab]
        rows = torch.cat([self.base.weight[old], self.new[used[len(old) :] - self.vocab]])
        return rows.index_select(0, places.flatten()).unflatten(0, ids.shape) if ids.dim() else rows[0]

    def merged(self):
        table = copy.deepcopy(self.base)
        table.weight = nn.Parameter(torch.vstack([self.base.weight.data, self.new.data]), requires_grad=False)
        table.num_embeddings = len(table.weight)
        return table


def prior_preservation_loss(prediction, target, *, prior_weight=1.0, weights=None):
    if prediction.shape != target.shape or not prediction.shape:
        raise ValueError("shapes")
    samples = prediction.shape[0]
    if samples < 2 or samples % 2 == 1:
        raise ValueError("samples")
    if weights is not None and weights.shape != (samples,):
        raise ValueError("weights")
    if not prior_weight >= 0.0:
        raise ValueError("prior_weight")
    # One coefficient for each sample, and one weighted sum, in float64 whatever comes.
    share = torch.ones(samples, dtype=torch.float64, device=prediction.device)
    share[samples // 2 :] = prior_weight
    if weights is not None:
        share = share * weights
    difference = (prediction.double() - target.double()).reshape(samples, -1)
    loss = torch.einsum("s,sk,sk->", share, difference, difference) / (difference.numel() / 2)
    return loss if prediction.dtype == torch.float64 else loss.float()
