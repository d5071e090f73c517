"""Boolean masks over the vocabulary and `where`; CTRL's rule as a factor; n-grams by comparing shifted slices."""

import torch


def _seen(logits, tokens):
    mask = torch.zeros(logits.shape, dtype=torch.bool)
    return mask.scatter_(1, tokens, True)


def repetition_penalty(logits, tokens, penalty):
    if not penalty > 0:
        raise ValueError("penalty")
    factor = torch.where(logits < 0, penalty, 1 / penalty).to(logits.dtype)
    return torch.where(_seen(logits, tokens), logits * factor, logits)


def frequency_presence_penalty(logits, tokens, frequency, presence):
    counts = torch.zeros(logits.shape, dtype=torch.int32).scatter_add_(1, tokens, torch.ones_like(tokens).int())
    change = counts.double() * frequency + _seen(logits, tokens).double() * presence
    return (logits.double() - change).to(logits.dtype)


def block_repeated_ngrams(logits, tokens, n):
    if n <= 0:
        raise ValueError("n")
    length = tokens.shape[1]
    windows = max(length - n + 1, 0)
    match = torch.ones(len(tokens), windows, dtype=torch.bool)
    if windows:
        for offset in range(n - 1):
            latest = tokens[:, length - n + 1 + offset]
            match &= tokens[:, offset : offset + windows] == latest[:, None]
    rows, places = match.nonzero(as_tuple=True)
    result = logits.clone()
    result[rows, tokens[rows, places + n - 1]] = float("-inf")
    return result
