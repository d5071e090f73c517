"""Predicates over i and j, joined like flex_attention's mask_mods; attention loops over blocks with a fused call."""

import functools
import math

import torch
from torch.nn import functional as F


def grid(queries, keys, device=None):
    if queries > keys:
        raise ValueError("more queries than keys")
    return torch.meshgrid(
        torch.arange(keys - queries, keys, device=device), torch.arange(keys, device=device), indexing="ij"
    )


def causal(i, j):
    return i >= j


def within(window):
    return lambda i, j: i - j < window


def both(*mods):
    return lambda i, j: functools.reduce(torch.logical_and, (mod(i, j) for mod in mods))


def causal_mask(queries, keys):
    return causal(*grid(queries, keys))


def window_mask(queries, keys, window, *, sinks=0):
    if window <= 0:
        raise ValueError("window")
    if sinks < 0:
        raise ValueError("sinks")
    near = within(window)
    return both(causal, lambda i, j: near(i, j) | (j < sinks))(*grid(queries, keys))


def validated(documents):
    for row in documents.reshape(-1, documents.shape[-1]):
        runs = row.unique_consecutive()
        runs = runs[runs != -1]
        if len(runs) != len(runs.unique()) or (runs < 0).any():
            raise ValueError("documents")
    return documents


def document_mask(documents):
    documents = validated(documents)
    i, j = grid(documents.shape[-1], documents.shape[-1], documents.device)
    mine, other = documents[..., i], documents[..., j]
    return both(lambda i, j: mine == other, lambda i, j: mine != -1, causal)(i, j)


def document_positions(documents):
    return (document_mask(documents).sum(-1) - 1).clamp(min=0)


def alibi_slopes(heads):
    if heads < 1:
        raise ValueError("heads")

    def series(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    lower = 2 ** math.floor(math.log2(heads))
    return torch.tensor(series(lower) + series(2 * lower)[::2][: heads - lower], dtype=torch.float64)


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    i, j = grid(queries, keys)
    bias = torch.where(j <= i, alibi_slopes(heads)[:, None, None] * (j - i), float("-inf"))
    return bias.to(dtype)


def window_attention(q, k, v, window, block=32):
    if window < 1:
        raise ValueError("window")
    n, scale = q.shape[-2], q.shape[-1] ** -0.5
    answers = []
    for start in range(0, n, block):
        stop = min(start + block, n)
        first = max(0, start - window + 1)
        mask = window_mask(stop - start, stop - first, window).to(q.device)
        rows, cols = slice(start, stop), slice(first, stop)
        answers.append(
            F.scaled_dot_product_attention(
                q[..., rows, :] * scale, k[..., cols, :], v[..., cols, :], attn_mask=mask, scale=1.0
            )
        )
    return torch.cat(answers, -2)
