"""numpy for what is made from sizes; a shared table of distances; attention by strides over the padded keys."""

import numpy as np
import torch


def table(queries, keys):
    if queries > keys:
        raise ValueError("queries > keys")
    return np.subtract.outer(np.arange(keys)[keys - queries :], np.arange(keys))


def causal_mask(queries, keys):
    table(queries, keys)
    return torch.from_numpy(np.tri(queries, keys, keys - queries, dtype=bool))


def window_mask(queries, keys, window, *, sinks=0):
    if window < 1:
        raise ValueError("window < 1")
    if sinks < 0:
        raise ValueError("sinks < 0")
    distance = table(queries, keys)
    seen = np.isin(distance, np.arange(min(window, keys))) | ((distance >= 0) & (np.arange(keys) < sinks))
    return torch.from_numpy(seen)


def checked(documents):
    rows = documents.detach().cpu().numpy().reshape(-1, documents.shape[-1])
    if (rows < -1).any():
        raise ValueError("labels")
    for row in rows:
        for label in set(row.tolist()) - {-1}:
            at = np.flatnonzero(row == label)
            if at[-1] - at[0] + 1 != len(at):
                raise ValueError(f"document {label} is torn")
    return rows


def document_mask(documents):
    rows = checked(documents)
    seen = (rows[:, :, None] == rows[:, None, :]) & (rows[:, :, None] > -1) & np.tri(rows.shape[1], dtype=bool)
    return torch.from_numpy(seen).to(documents.device).view(*documents.shape, -1)


def document_positions(documents):
    rows = checked(documents)
    positions = np.zeros_like(rows)
    for j in range(1, rows.shape[1]):
        positions[:, j] = np.where(rows[:, j] == rows[:, j - 1], positions[:, j - 1] + 1, 0)
    return torch.from_numpy(positions).to(documents.device).view(documents.shape)


def alibi_slopes(heads):
    if heads < 1:
        raise ValueError("heads < 1")
    power = 2 ** int(np.floor(np.log2(heads)))
    first, second = np.arange(1, power + 1) / power, np.arange(1, 2 * power, 2) / (2 * power)
    return torch.from_numpy(np.power(2.0, -8 * np.concatenate([first, second]))[:heads])


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    distance = table(queries, keys)
    distance = np.where(distance < 0, np.inf, distance)
    return torch.from_numpy(-alibi_slopes(heads).numpy()[:, None, None] * distance).to(dtype)


def window_attention(q, k, v, window):
    if window < 1:
        raise ValueError("window < 1")
    n, dim = q.shape[-2:]
    w = min(window, n)
    size = -(-w // 4)  # a quarter of the window: 1.25 times the band
    blocks = -(-n // size)
    span = size + w - 1
    q = torch.nn.functional.pad(q, (0, 0, 0, blocks * size - n)).reshape(*q.shape[:-2], blocks, size, dim)
    pad = (0, 0, w - 1, blocks * size - n)
    k, v = (torch.nn.functional.pad(t, pad).contiguous() for t in (k, v))

    def strided(t):
        inner = t.reshape(-1, *t.shape[-2:])
        rows = torch.stack([inner[:, b * size : b * size + span] for b in range(blocks)], 1)
        return rows.view(*t.shape[:-2], blocks, span, dim)

    i = torch.arange(size, device=q.device)[:, None]
    j = torch.arange(span, device=q.device)
    seen = (j >= i) & (j < i + w)
    start = torch.arange(blocks, device=q.device)[:, None, None] * size
    seen = seen & (start + j >= w - 1)
    scores = torch.matmul(q * dim**-0.5, strided(k).transpose(-1, -2)).masked_fill(~seen, torch.finfo(q.dtype).min)
    return torch.matmul(scores.softmax(-1), strided(v)).reshape(*q.shape[:-3], blocks * size, dim)[..., :n, :]
