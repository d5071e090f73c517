"""Fills the places of new ids by masked_scatter, in the order in which they stand."""

import torch
from torch import nn


class LearnedTokens(nn.Module):
    def __init__(self, base: nn.Embedding, count: int, init_id: int):
        if not isinstance(base, nn.Embedding) or base.max_norm is not None:
            raise ValueError("base")
        if min(count - 1, init_id, base.num_embeddings - 1 - init_id) < 0:
            raise ValueError("count or init_id")
        super().__init__()
        self.new = nn.Parameter(base.weight.detach().clone()[[init_id] * count])
        self.base = base.requires_grad_(False)

    @property
    def vocab(self):
        return self.base.num_embeddings

    def forward(self, ids):
        if not ids.is_cuda and ids.numel() and not (ids.min() >= 0 and ids.max() <= self.vocab + len(self.new) - 1):
            raise ValueError("ids")
        mask = ids >= self.vocab
        rows = self.new.index_select(0, ids.masked_select(mask) - self.vocab)
        return self.base(ids * ~mask).masked_scatter(mask.unsqueeze(-1), rows)

    def merged(self):
        table = nn.Embedding.from_pretrained(
            torch.zeros(self.vocab + len(self.new), self.base.embedding_dim).to(self.new),
            freeze=False,
            padding_idx=self.base.padding_idx,
            scale_grad_by_freq=self.base.scale_grad_by_freq,
            sparse=self.base.sparse,
        )
        for at, rows in ((0, self.base.weight), (self.vocab, self.new)):
            table.weight.data[at : at + len(rows)] = rows.data
        return table


def prior_preservation_loss(prediction, target, *, prior_weight=1.0, weights=None):
    if prediction.shape != target.shape:
        raise ValueError("shapes")
    if prediction.dim() == 0 or prediction.shape[0] == 0:
        raise ValueError("no batch")
    if prediction.shape[0] % 2:
        raise ValueError("odd")
    if not prior_weight >= 0:
        raise ValueError("prior_weight")
    wide = torch.double if prediction.dtype == torch.double else torch.float
    weights = prediction.new_ones(len(prediction), dtype=wide) if weights is None else weights.to(wide)
    if weights.shape != prediction.shape[:1]:
        raise ValueError("weights")
    squares = (prediction.to(wide) - target.to(wide)).pow(2).reshape(len(weights), -1)
    halves = zip(weights.tensor_split(2), squares.tensor_split(2), strict=True)
    instance, prior = ((w @ half).sum() / half.numel() for w, half in halves)
    return instance + prior_weight * prior
