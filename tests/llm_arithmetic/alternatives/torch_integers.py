"""Tables of int64 in torch, and products of them: exact up to 9e18, where floats stop at 9e15."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Decoder:
    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    tied: bool


@dataclass(frozen=True)
class Card:
    flops: float
    bandwidth: float
    memory: int


def table(m):
    """Rows: the kinds of tensors. Columns: how many numbers, whether stored, multiplied with, read by a step."""
    q, kv = m.heads * m.head_dim * m.dim, m.kv_heads * m.head_dim * m.dim
    return torch.tensor(
        [
            (m.layers * 2 * (q + kv), 1, 1, 1),
            (m.layers * 3 * m.dim * m.hidden, 1, 1, 1),
            ((1 + 2 * m.layers) * m.dim, 1, 0, 1),
            (m.vocab * m.dim, int(not m.tied), 0, 0),
            (m.vocab * m.dim, 1, 1, 1),
        ]
    )


def column(m, which):
    numbers = table(m)
    return int((numbers[:, 0] * numbers[:, which]).sum())


def parameters(m):
    return column(m, 1)


def forward_flops(m, new, context):
    check(new, context + 1)
    queries = torch.tensor([m.layers, m.heads, new, context + new, m.head_dim])
    return 2 * new * column(m, 2) + 2 * (2 * queries.prod().item())


def kv_bytes(m, tokens, *, dtype_bytes=2):
    check(tokens + 1, dtype_bytes)
    return torch.tensor([2, m.layers, m.kv_heads, tokens, m.head_dim, dtype_bytes]).prod().item()


def check(*positive):
    if not all(number > 0 for number in positive):
        raise ValueError(f"not positive: {positive}")


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    check(batch, weight_bytes, kv_bytes_each, context + 1)
    read = column(m, 3) * weight_bytes + batch * kv_bytes(m, context, dtype_bytes=kv_bytes_each)
    amounts = torch.tensor([batch * forward_flops(m, 1, context), read], dtype=torch.float64)
    rates = torch.tensor([card.flops, card.bandwidth], dtype=torch.float64)
    return (amounts / rates).amax().item()


def critical_batch(card, *, weight_bytes=2.0):
    check(weight_bytes)
    return (card.flops / 2) * (weight_bytes / card.bandwidth)


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    check(tokens, weight_bytes, kv_bytes_each)
    free = card.memory - parameters(m) * weight_bytes
    fits = torch.tensor(free / kv_bytes(m, tokens, dtype_bytes=kv_bytes_each), dtype=torch.float64)
    return int(fits.floor().clamp(min=0).item())


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    check(parameter_count, workers, stage + 1, 4 - stage)
    shard = (parameter_count - 1) // workers + 1
    each = torch.tensor([12, 2, 2] if mixed else [8, 4, 4])
    sharded = torch.arange(3) < stage
    return int((each * torch.where(sharded, shard, parameter_count)).sum())


def mfu(m, card, tokens_per_second, length):
    check(tokens_per_second, length)
    # The last token of a sequence attends to all of it, and no token's pairs are fewer here.
    return 3 * forward_flops(m, 1, length - 1) * tokens_per_second / card.flops
