"""A dictionary from (n - 1)-grams to their successors, as generation libraries build it; unique tokens row by row."""

from collections import defaultdict

import torch


def repetition_penalty(logits, tokens, penalty):
    if not penalty > 0:
        raise ValueError(f"bad penalty {penalty}")
    rows = []
    for z, history in zip(logits, tokens, strict=True):
        seen = history.unique()
        z = z.index_copy(0, seen, torch.where(z[seen] < 0, z[seen] * penalty, z[seen] / penalty))
        rows.append(z)
    return torch.stack(rows)


def frequency_presence_penalty(logits, tokens, frequency, presence):
    rows = []
    for z, history in zip(logits, tokens, strict=True):
        seen, counts = history.unique(return_counts=True)
        rows.append(z.index_add(0, seen, -(counts.double() * frequency + presence).to(z.dtype)))
    return torch.stack(rows)


def block_repeated_ngrams(logits, tokens, n):
    if n < 1:
        raise ValueError(f"bad n {n}")
    result = logits.clone()
    for row, history in zip(result, tokens.tolist(), strict=True):
        followers = defaultdict(list)
        for ngram in zip(*(history[i:] for i in range(n)), strict=False):
            followers[ngram[:-1]].append(ngram[-1])
        row[followers[tuple(history[len(history) + 1 - n :]) if len(history) >= n - 1 else None]] = -torch.inf
    return result
