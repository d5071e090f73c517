"""A loop over the new rows, which are few: each is put where its id stands."""

import torch
from torch import nn


class LearnedTokens(nn.Module):
    def __init__(self, base, count, init_id):
        super().__init__()
        if count < 1:
            raise ValueError("count")
        if init_id < 0 or init_id >= base.weight.size(0):
            raise ValueError("init_id")
        if base.max_norm is not None:
            raise ValueError("max_norm")
        self.base = base
        self.base.weight.requires_grad = False
        self.new = nn.Parameter(torch.zeros_like(base.weight[:1]).repeat(count, 1))
        with torch.no_grad():
            self.new += base.weight[init_id]

    def forward(self, ids):
        vocab = self.base.weight.size(0)
        outside = (ids < 0).logical_or(ids >= vocab + self.new.size(0))
        if ids.device.type == "cpu" and outside.any():
            raise ValueError(f"{ids[outside].tolist()} are ids of no row")
        with torch.no_grad():
            rows = (
                self.base.weight[torch.where(ids < vocab, ids, 0).reshape(-1)].reshape(*ids.shape, -1)
                if (ids.numel())
                else self.new.new_zeros(*ids.shape, self.new.size(1))
            )
        for number, row in enumerate(self.new):
            rows = torch.where(ids.unsqueeze(-1) == vocab + number, row, rows)
        return rows

    def merged(self):
        state = {"weight": torch.cat((self.base.weight.detach(), self.new.detach()), dim=0)}
        table = nn.Embedding(
            *state["weight"].shape,
            padding_idx=self.base.padding_idx,
            scale_grad_by_freq=self.base.scale_grad_by_freq,
            sparse=self.base.sparse,
            device="meta" if self.new.is_meta else self.new.device,
            dtype=self.new.dtype,
        )
        table.load_state_dict(state)
        return table


def prior_preservation_loss(prediction, target, *, prior_weight=1.0, weights=None):
    if prediction.shape != target.shape or prediction.dim() < 1:
        raise ValueError("shapes")
    samples = len(prediction)
    if samples == 0 or samples % 2:
        raise ValueError("samples")
    if weights is not None and tuple(weights.shape) != (samples,):
        raise ValueError("weights")
    if prior_weight != prior_weight or prior_weight < 0:
        raise ValueError("prior_weight")
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    # One factor for each sample, and one scalar product.
    scale = torch.ones(samples, dtype=dtype, device=prediction.device)
    scale = torch.cat([scale[: samples // 2], prior_weight * scale[samples // 2 :]])
    if weights is not None:
        scale = scale * weights.to(dtype)
    sums = (prediction.to(dtype) - target.to(dtype)).square().reshape(samples, -1).sum(-1)
    return scale.dot(sums) * 2 / prediction.numel()
