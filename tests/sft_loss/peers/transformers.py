"""transformers' loss of causal language models and its collator for rows without padding. The loss casts to float32, is NaN
where nothing counts, and divides by what it is told; the collator joins a row, it does not choose what goes into one."""

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DataCollatorWithFlattening
from transformers.loss.loss_utils import ForCausalLMLoss


class Wide(Tensor):
    """A tensor whose float() keeps float64."""

    def float(self):
        return self.as_subclass(Tensor)


class Packed(NamedTuple):
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


def build_labels(tokens, attention_mask, prompt_lengths):
    if attention_mask.shape != tokens.shape or prompt_lengths.shape != tokens.shape[:1]:
        raise ValueError("shapes")
    lengths = attention_mask.sum(1)
    if (prompt_lengths < 0).any() or (prompt_lengths > lengths).any():
        raise ValueError("prompt lengths")
    place = attention_mask.long().cumsum(1) - 1
    return tokens.masked_fill(~attention_mask | (place < prompt_lengths[:, None]), -100)


def causal_lm_loss(logits, labels, *, num_items=None):
    if labels.shape != logits.shape[:2] or (isinstance(num_items, int) and num_items < 0):
        raise ValueError("labels or num_items")
    items = (labels[:, 1:] != -100).sum() if num_items is None else torch.as_tensor(num_items)
    if logits.dtype == torch.float64:
        logits = logits.view_as(logits).as_subclass(Wide)
    return ForCausalLMLoss(logits.contiguous(), labels, logits.shape[-1], num_items_in_batch=items.clamp(min=1))


def join(examples):
    collate = DataCollatorWithFlattening(return_seq_idx=True, return_tensors="pt")
    row = collate([{"input_ids": tokens, "labels": labels} for tokens, labels in examples])
    device = examples[0][0].device
    columns = (row[name][0].long().to(device) for name in ("input_ids", "labels", "position_ids", "seq_idx"))
    return Packed(*columns)


def pack(tokens, labels, max_length):
    if len(tokens) != len(labels) or any(len(a) != len(b) for a, b in zip(tokens, labels, strict=True)):
        raise ValueError("labels")
    rows, used = [], max_length
    for example in zip(tokens, labels, strict=True):
        n = len(example[0])
        if not 0 < n <= max_length:
            raise ValueError("length")
        if used + n > max_length:
            rows.append([])
            used = 0
        rows[-1].append(example)
        used += n
    return [join(row) for row in rows]
