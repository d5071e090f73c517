"""Loops over rows and tokens, as a beginner writes masks; attention block by block, with a softmax by hand."""

import torch


def causal_mask(queries, keys):
    if queries > keys:
        raise ValueError("queries > keys")
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    for i in range(queries):
        mask[i, : keys - queries + i + 1] = True
    return mask


def window_mask(queries, keys, window, *, sinks=0):
    if window < 1 or sinks < 0 or queries > keys:
        raise ValueError("window_mask")
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    for i in range(queries):
        place = keys - queries + i
        mask[i, max(0, place - window + 1) : place + 1] = True
        mask[i, : min(sinks, place + 1)] = True
    return mask


def spans(labels):
    """(begin, end) of each document in a list of labels."""
    ended, result, begin = set(), [], 0
    for i, label in enumerate(labels):
        if label < -1 or label in ended:
            raise ValueError(f"label {label}")
        if i + 1 == len(labels) or labels[i + 1] != label:
            if label >= 0:
                ended.add(label)
                result.append((begin, i + 1))
            begin = i + 1
    return result


def document_mask(documents):
    n = documents.shape[-1]
    rows = documents.reshape(-1, n).tolist()
    mask = torch.zeros(len(rows), n, n, dtype=torch.bool, device=documents.device)
    for row, labels in enumerate(rows):
        for begin, end in spans(labels):
            mask[row, begin:end, begin:end] = causal_mask(end - begin, end - begin)
    return mask.reshape(*documents.shape, n)


def document_positions(documents):
    positions = []
    for labels in documents.reshape(-1, documents.shape[-1]).tolist():
        own = [0] * len(labels)
        for begin, end in spans(labels):
            own[begin:end] = range(end - begin)
        positions.append(own)
    return torch.tensor(positions, device=documents.device).reshape(documents.shape)


def alibi_slopes(heads):
    if heads < 1:
        raise ValueError("heads")
    power = 2 ** (len(bin(heads)) - 3)
    slopes = [2.0 ** (-8.0 * h / power) for h in range(1, power + 1)]
    slopes += [2.0 ** (-4.0 * h / power) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor(slopes[:heads], dtype=torch.float64)


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    slopes = alibi_slopes(heads)
    if queries > keys:
        raise ValueError("queries > keys")
    bias = torch.full((heads, queries, keys), float("-inf"), dtype=torch.float64)
    for i in range(queries):
        place = keys - queries + i
        bias[:, i, : place + 1] = -slopes[:, None] * torch.arange(place, -1, -1)
    return bias.to(dtype)


def window_attention(q, k, v, window):
    if window < 1:
        raise ValueError("window")
    n = q.shape[-2]
    size = min(window, n)
    answer = []
    for begin in range(0, n, size):
        end, first = min(begin + size, n), max(0, begin - size)
        scores = (q[..., begin:end, :] / q.shape[-1] ** 0.5) @ k[..., first:end, :].transpose(-2, -1)
        hidden = torch.tensor([[not 0 <= i - j < window for j in range(first, end)] for i in range(begin, end)])
        scores = scores.masked_fill(hidden.to(q.device), -torch.inf)
        scores = scores.to(torch.promote_types(q.dtype, torch.float32))
        weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
        answer.append(weights.to(q.dtype) @ v[..., first:end, :])
    return torch.cat(answer, dim=-2)
