"""Everything of a row at once: segments from searchsorted, labels by arithmetic, the loss by nll_loss with weights."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Packed(NamedTuple):
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


def build_labels(tokens, attention_mask, prompt_lengths):
    if tokens.size() != attention_mask.size() or prompt_lengths.size() != tokens.size()[:-1]:
        raise ValueError("shapes")
    counted = attention_mask.to(torch.int64)
    if torch.any(prompt_lengths != prompt_lengths.clamp(min=0).minimum(counted.sum(1))):
        raise ValueError("prompt lengths")
    counted = counted * (counted.cumsum(1) > prompt_lengths.view(-1, 1))
    return counted * tokens + (counted - 1) * 100


def causal_lm_loss(logits, labels, *, num_items=None):
    if labels.shape != logits.shape[:2]:
        raise ValueError("shapes")
    divisor = num_items
    if divisor is None:
        divisor = labels[:, 1:].ne(-100).count_nonzero()
    elif not isinstance(divisor, Tensor) and divisor < 0:
        raise ValueError("num_items")
    narrow = torch.finfo(logits.dtype).bits < 32
    log_probs = F.log_softmax(logits, -1, dtype=torch.float32 if narrow else logits.dtype)
    following = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)
    total = F.nll_loss(log_probs.view(-1, logits.shape[-1]), following.view(-1), reduction="sum")
    return total * (1 / max(float(divisor), 1.0))


def pack(tokens, labels, max_length):
    lengths = list(map(len, tokens))
    if lengths != list(map(len, labels)):
        raise ValueError("labels")
    if lengths and not (min(lengths) > 0 and max(lengths) <= max_length):
        raise ValueError("lengths")
    groups = []
    for k, n in enumerate(lengths):
        if groups and sum(lengths[j] for j in groups[-1]) + n <= max_length:
            groups[-1].append(k)
        else:
            groups.append([k])
    rows = []
    for group in groups:
        words, targets = torch.cat([tokens[k] for k in group]), torch.cat([labels[k] for k in group])
        ends = torch.tensor([lengths[k] for k in group]).cumsum(0)
        places = torch.arange(len(words))
        segments = torch.searchsorted(ends, places, right=True)
        begins = F.pad(ends[:-1], (1, 0))
        rows.append(Packed(words, targets.index_fill(0, begins, -100), places - begins[segments], segments))
    return rows
