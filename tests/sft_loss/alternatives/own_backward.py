"""An autograd function of its own, masks that grow from both ends, and a generator of rows."""

from typing import NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


Packed = Row


class SummedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        counts = targets >= 0
        log_probs = logits.log_softmax(-1)
        ctx.save_for_backward(log_probs, targets, counts)
        picked = torch.take_along_dim(log_probs, targets.clamp(min=0).unsqueeze(-1), -1).squeeze(-1)
        return -picked[counts].sum()

    @staticmethod
    def backward(ctx, grad):
        log_probs, targets, counts = ctx.saved_tensors
        slope = log_probs.exp()
        slope.scatter_add_(-1, targets.clamp(min=0).unsqueeze(-1), -torch.ones_like(slope[..., :1]))
        slope[~counts] = 0
        return grad * slope, None


def build_labels(tokens, attention_mask, prompt_lengths):
    if not (tokens.shape == attention_mask.shape and prompt_lengths.shape == tokens.shape[:1]):
        raise ValueError("shapes")
    answers = attention_mask.sum(-1) - prompt_lengths
    if (answers < 0).any() or prompt_lengths.lt(0).any():
        raise ValueError("prompt lengths")
    remaining = attention_mask.flip(-1).cumsum(-1).flip(-1)  # attended tokens from here to the end
    keep = (remaining <= answers.unsqueeze(-1)) * attention_mask
    return torch.full_like(tokens, -100).masked_scatter(keep, tokens[keep])


def causal_lm_loss(logits, labels, *, num_items=None):
    batch, length, _ = logits.shape
    if labels.dim() != 2 or labels.shape[0] != batch or labels.shape[1] != length:
        raise ValueError("shapes")
    if isinstance(num_items, int):
        if num_items < 0:
            raise ValueError("num_items")
        num_items = torch.tensor(num_items)
    targets = labels.roll(-1, 1).index_fill(1, torch.tensor([length - 1], device=labels.device), -100)
    total = SummedLoss.apply(logits.to(torch.result_type(logits, torch.zeros(1))), targets)
    items = targets.ge(0).sum() if num_items is None else num_items
    return total / items.where(items > 0, 1)


def rows_of(lengths, most):
    row, room = [], most
    for k, n in enumerate(lengths):
        if n > room:
            yield row
            row, room = [], most
        row = [*row, k]
        room -= n
    if row:
        yield row


def pack(tokens, labels, max_length):
    for t, label in zip(tokens, labels, strict=True):  # strict raises ValueError too
        if t.shape != label.shape or len(t) > max_length or len(t) == 0:
            raise ValueError("an example does not fit")
    packed = []
    for row in rows_of([len(t) for t in tokens], max_length):
        places = [torch.ones_like(tokens[k]).cumsum(0) - 1 for k in row]
        positions = torch.cat(places)
        targets = torch.where(positions > 0, torch.cat([labels[k] for k in row]), -100)
        packed.append(Row(torch.cat([tokens[k] for k in row]), targets, positions, (positions == 0).cumsum(0) - 1))
    return packed
