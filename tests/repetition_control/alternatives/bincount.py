"""One bincount for the whole batch, with each row's tokens shifted into a range of its own; bans counted the same way."""

import torch


def _counts(logits, tokens, weights=None):
    batch, vocab = logits.shape
    shifted = tokens + vocab * torch.arange(batch).unsqueeze(1)
    if weights is not None:
        shifted = shifted[weights]
    return torch.bincount(shifted.flatten(), minlength=batch * vocab).view(batch, vocab)


def repetition_penalty(logits, tokens, penalty):
    if not penalty > 0:
        raise ValueError("penalty must be positive")
    seen = _counts(logits, tokens) > 0
    harsher = torch.minimum(logits * penalty, logits / penalty)  # CTRL's rule for a penalty above 1 ...
    milder = torch.maximum(logits * penalty, logits / penalty)  # ... and below
    return torch.where(seen, harsher if penalty >= 1 else milder, logits)


def frequency_presence_penalty(logits, tokens, frequency, presence):
    counts = _counts(logits, tokens).to(torch.float64)
    penalised = logits.to(torch.float64) - counts * frequency
    return torch.where(counts > 0, penalised - presence, penalised).type_as(logits)


def block_repeated_ngrams(logits, tokens, n):
    if n < 1:
        raise ValueError("n must be positive")
    length = tokens.size(1)
    starts = torch.arange(max(length - n + 1, 0))
    windows = tokens[:, starts.unsqueeze(1) + torch.arange(n)]  # [batch, windows, n]
    matches = (
        windows[:, :, : n - 1].eq(tokens[:, max(length - n + 1, 0) :].unsqueeze(1)[..., : n - 1]).all(2)
        if len(starts)
        else torch.zeros(len(tokens), 0, dtype=torch.bool)
    )
    return torch.where(_counts(logits, windows[:, :, n - 1], matches) > 0, -torch.inf, logits)
