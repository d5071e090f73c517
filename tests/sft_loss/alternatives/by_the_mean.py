"""Cross-entropy's own mean, undone where another divisor is asked for; nested packing by recursion."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Packed(NamedTuple):
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


IGNORE = nn.CrossEntropyLoss().ignore_index


def build_labels(tokens, attention_mask, prompt_lengths):
    same = tokens.shape == attention_mask.shape and prompt_lengths.shape == tokens.shape[:1]
    if not same or any(not 0 <= p <= n for p, n in zip(prompt_lengths, attention_mask.sum(1), strict=True)):
        raise ValueError("shapes or prompt lengths")
    labels = torch.full_like(tokens, IGNORE)
    for label, row, mask, prompt in zip(labels, tokens, attention_mask, prompt_lengths, strict=True):
        answer = mask.nonzero().flatten()[int(prompt) :]
        label[answer] = row[answer]
    return labels


def causal_lm_loss(logits, labels, *, num_items=None):
    if labels.shape != logits.shape[:-1]:
        raise ValueError("shapes")
    if isinstance(num_items, int) and num_items < 0:
        raise ValueError("num_items")
    wide = logits.double() if logits.dtype == torch.float64 else logits.float()
    counted = labels[:, 1:] != IGNORE
    n = int(counted.sum())
    if n == 0:
        return wide.masked_fill(~wide.isfinite(), 0.0).mul(0).sum()
    mean = nn.CrossEntropyLoss()(wide[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    return mean if num_items is None else mean * n / num_items


def pack(tokens, labels, max_length):
    if len(tokens) != len(labels):
        raise ValueError("numbers of examples")
    for t, label in zip(tokens, labels, strict=True):
        if len(t) != len(label) or not len(t) or len(t) > max_length:
            raise ValueError("lengths")
    if len(tokens) == 0:
        return []
    fits, used = 0, 0
    while fits < len(tokens) and used + len(tokens[fits]) <= max_length:
        used += len(tokens[fits])
        fits += 1
    device = tokens[0].device
    targets, segments, positions = [], [], []
    for number in range(fits):
        label = labels[number].clone()
        label[0] = IGNORE
        targets.append(label)
        segments.append(torch.full_like(label, number))
        positions.append(torch.arange(len(label), device=device))
    row = Packed(torch.cat(tokens[:fits]), torch.cat(targets), torch.cat(positions), torch.cat(segments))
    return [row, *pack(tokens[fits:], labels[fits:], max_length)]
