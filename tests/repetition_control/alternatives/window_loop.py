"""Loops over positions, a whole batch at a time, that change one copy in place; the history is sorted to find what is new."""

import torch


def repetition_penalty(logits, tokens, penalty):
    if not penalty > 0:
        raise ValueError("penalty has to be above 0")
    out = logits.clone()
    rows = torch.arange(len(logits))
    for position in range(tokens.shape[1]):
        token = tokens[:, position]
        z = logits[rows, token]  # always from the original, so a second time changes nothing
        out[rows, token] = torch.where(z > 0, z / penalty, z * penalty)
    return out


def frequency_presence_penalty(logits, tokens, frequency, presence):
    out = logits.to(torch.float64, copy=True)
    ordered = tokens.sort(-1).values
    rows = torch.arange(len(logits))
    for position in range(tokens.shape[1]):
        token = ordered[:, position]
        first = token != ordered[:, position - 1] if position else torch.ones_like(token, dtype=torch.bool)
        out[rows, token] -= frequency + presence * first
    return out.to(logits.dtype)


def block_repeated_ngrams(logits, tokens, n):
    if n < 1:
        raise ValueError("n has to be 1 or more")
    out = logits.clone()
    length = tokens.shape[1]
    for start in range(length - n + 1):
        match = (tokens[:, start : start + n - 1] == tokens[:, length - n + 1 :]).all(-1)
        out[match, tokens[match, start + n - 1]] = -torch.inf
    return out
