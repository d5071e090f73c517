"""Logits lose their last position, labels their first; labels are written into a copy; rows are slices of one long row."""

from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Packed(NamedTuple):
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


def build_labels(tokens, attention_mask, prompt_lengths):
    batch, length = tokens.shape
    if attention_mask.shape != (batch, length) or prompt_lengths.shape != (batch,):
        raise ValueError("shapes")
    attended = attention_mask.long().sum(dim=1)
    if bool(((prompt_lengths < 0) | (prompt_lengths > attended)).any()):
        raise ValueError("prompt lengths")
    labels = tokens.clone()
    labels[~attention_mask] = -100
    first = attention_mask.long().argmax(dim=1)  # 0 in a row of padding, whose prompt is empty
    places = torch.arange(length, device=tokens.device).expand(batch, length)
    labels[places < (first + prompt_lengths).unsqueeze(1)] = -100
    return labels


def causal_lm_loss(logits, labels, *, num_items=None):
    if logits.dim() != 3 or labels.shape != logits.shape[:2]:
        raise ValueError("shapes")
    if num_items is not None and not torch.is_tensor(num_items) and num_items < 0:
        raise ValueError("num_items")
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.to(torch.float32)
    losses = cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    if num_items is None:
        num_items = (labels[:, 1:] != -100).sum()
    return losses.sum() / torch.clamp(torch.as_tensor(num_items), min=1)


def pack(tokens, labels, max_length):
    lengths = [t.numel() for t in tokens]
    if lengths != [t.numel() for t in labels] or not all(0 < n <= max_length for n in lengths):
        raise ValueError("lengths")
    if not tokens:
        return []
    rows, used = [0], 0
    for n in lengths:
        if used + n > max_length:
            rows.append(0)
            used = 0
        rows[-1] += 1
        used += n
    sizes = torch.tensor(lengths, device=tokens[0].device)
    ends = sizes.cumsum(0)
    whole = torch.cat(tokens)
    positions = torch.arange(len(whole), device=whole.device) - (ends - sizes).repeat_interleave(sizes)
    targets = torch.cat(labels).masked_fill(positions == 0, -100)
    number = torch.cat([torch.arange(n, device=whole.device) for n in rows]).repeat_interleave(sizes)
    borders = [0, *(int(ends[k - 1]) for k in accumulate(rows))]
    slices = [slice(a, b) for a, b in pairwise(borders)]
    return [Packed(whole[s].clone(), targets[s], positions[s], number[s]) for s in slices]
