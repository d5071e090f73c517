"""Labels and rows in numpy; the loss selects the counted positions before the softmax."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Packed:
    tokens: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor


def build_labels(tokens, attention_mask, prompt_lengths):
    words, mask, prompts = (np.asarray(given) for given in (tokens, attention_mask, prompt_lengths))
    if words.shape != mask.shape or prompts.shape != words.shape[:1]:
        raise ValueError("shapes")
    before = np.cumsum(mask, 1) - mask  # attended tokens before each place
    if (prompts < 0).any() or (prompts > mask.sum(1)).any():
        raise ValueError("prompts")
    return torch.from_numpy(np.where(mask & (before >= prompts[:, None]), words, np.int64(-100)))


def causal_lm_loss(logits, labels, *, num_items=None):
    if labels.shape != logits.shape[:-1]:
        raise ValueError("shapes")
    if not isinstance(num_items, torch.Tensor) and num_items is not None and num_items < 0:
        raise ValueError("num_items")
    row, place = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    chosen = logits[row, place]
    chosen = chosen.double() if logits.dtype == torch.float64 else chosen.float()
    losses = -chosen.log_softmax(-1)[torch.arange(len(row)), labels[row, place + 1]]
    items = len(row) if num_items is None else num_items
    return losses.sum() / (items if items else 1)


def pack(tokens, labels, max_length):
    if [t.shape for t in tokens] != [t.shape for t in labels]:
        raise ValueError("labels")
    lengths = np.array([len(t) for t in tokens], dtype=np.int64)
    if (lengths < 1).any() or (lengths > max_length).any():
        raise ValueError("lengths")
    result, start = [], 0
    while start < len(lengths):
        fits = np.cumsum(lengths[start:]) <= max_length
        stop = start + int(fits.sum())
        sizes = lengths[start:stop]
        begins = np.cumsum(sizes) - sizes
        targets = np.concatenate([np.asarray(t) for t in labels[start:stop]])
        targets[begins] = -100
        positions = np.arange(sizes.sum()) - np.repeat(begins, sizes)
        words = np.concatenate([np.asarray(t) for t in tokens[start:stop]])
        segments = np.repeat(np.arange(stop - start), sizes)
        result.append(Packed(*(torch.from_numpy(each) for each in (words, targets, positions, segments))))
        start = stop
    return result
