"""Row numbers next to token ids, numpy-style; accumulating index_put; bans reduced with a maximum. No gradient is kept."""

import torch


@torch.no_grad()
def repetition_penalty(logits, tokens, penalty):
    if not (penalty > 0):
        raise ValueError("penalty <= 0")
    rows = torch.arange(len(logits))[:, None]
    result = logits.clone()
    values = logits[rows, tokens]
    result[rows, tokens] = values * torch.where(values > 0, 1 / penalty, penalty).to(values.dtype)
    return result


@torch.no_grad()
def frequency_presence_penalty(logits, tokens, frequency, presence):
    rows = torch.arange(len(logits))[:, None].expand_as(tokens)
    change = torch.zeros(logits.shape, dtype=torch.float64)
    change.index_put_((rows, tokens), torch.tensor(float(frequency), dtype=torch.float64), accumulate=True)
    once = torch.zeros(logits.shape, dtype=torch.float64)
    once[rows, tokens] = presence
    return (logits - change - once).to(logits.dtype)


@torch.no_grad()
def block_repeated_ngrams(logits, tokens, n):
    if n < 1:
        raise ValueError("n < 1")
    if tokens.shape[1] < n:
        return logits + 0
    windows = tokens.contiguous().unfold(1, n, 1)
    differences = (windows[:, :, : n - 1] - windows[:, -1:, 1:]).abs().sum(-1)  # the last window ends in the prefix
    ban = torch.zeros(logits.shape, dtype=torch.int8)
    ban.scatter_reduce_(1, windows[:, :, -1], (differences == 0).to(torch.int8), reduce="amax")
    return logits.where(ban == 0, torch.tensor(-torch.inf, dtype=logits.dtype))
