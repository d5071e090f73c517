"""The field's rules of thumb, 2 N and 6 N + 12 L H Q T, with N as what is multiplied; throughput instead of time."""

import math
from dataclasses import dataclass


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


def n_active(m):
    """N: embedding and norms are not multiplied with, and a tied table is, as the head."""
    group = m.heads // m.kv_heads
    q = m.dim * m.heads * m.head_dim
    return m.layers * (2 * q + 2 * (q // group) + 3 * m.dim * m.hidden) + m.vocab * m.dim


def n_read(m):
    return n_active(m) + m.dim + 2 * m.dim * m.layers


def parameters(m):
    return n_read(m) + (m.vocab * m.dim, 0)[m.tied]


def at(m, place):
    """FLOPs of the token that attends to `place` tokens."""
    return 2 * n_active(m) + 4 * m.layers * m.heads * m.head_dim * place


def forward_flops(m, new, context):
    if new < 1 or context < 0:
        raise ValueError((new, context))
    return at(m, context + new) * new


def kv_bytes(m, tokens, *, dtype_bytes=2):
    if dtype_bytes < 1 or tokens < 0:
        raise ValueError((dtype_bytes, tokens))
    per_token = m.layers * 2 * (m.kv_heads * m.head_dim) * dtype_bytes
    return per_token * tokens


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    if not (batch >= 1 and weight_bytes > 0):
        raise ValueError((batch, weight_bytes))
    cache = kv_bytes(m, context, dtype_bytes=kv_bytes_each)
    # Steps per second that each limit allows; the lower one counts.
    steps = min(
        card.flops / (batch * at(m, context + 1)),
        card.bandwidth / (math.fsum([n_read(m) * weight_bytes, batch * cache])),
    )
    return 1 / steps


def critical_batch(card, *, weight_bytes=2.0):
    if not weight_bytes > 0:
        raise ValueError(weight_bytes)
    return card.flops * weight_bytes / card.bandwidth / 2


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    """Whole bytes are held: weights of a fraction of a byte take the next whole number together."""
    if not (tokens >= 1 and weight_bytes > 0):
        raise ValueError((tokens, weight_bytes))
    free = card.memory - math.ceil(parameters(m) * weight_bytes)
    batch, _ = divmod(free, kv_bytes(m, tokens, dtype_bytes=kv_bytes_each))
    return max(batch, 0)


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    if parameter_count < 1 or workers < 1 or stage not in range(4):
        raise ValueError((parameter_count, workers, stage))
    low = 2 if mixed else 4
    sharded = [0, 16 - 2 * low, 16 - low, 16][stage]
    first_worker = len(range(0, parameter_count, workers))  # parameters 0, workers, 2 workers, ...
    return sharded * first_worker + (16 - sharded) * parameter_count


def mfu(m, card, tokens_per_second, length):
    if not (tokens_per_second > 0 and length >= 1):
        raise ValueError((tokens_per_second, length))
    per_token = 6 * n_active(m) + 12 * m.layers * m.heads * m.head_dim * length
    return tokens_per_second * per_token / card.flops
