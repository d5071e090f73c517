"""Exact fractions to the end; the longer time is found by comparing a step's intensity with the ridge."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


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


def _check(*positive, cached=0):
    if min(positive) <= 0 or cached < 0:
        raise ValueError(f"numbers must be positive: {positive}, {cached}")


def _body(m):
    """What a layer's matrices and its two norms hold."""
    return m.dim * (2 * m.head_dim * (m.heads + m.kv_heads) + 3 * m.hidden), 2 * m.dim


def parameters(m):
    matrices, norms = _body(m)
    return m.layers * (matrices + norms) + m.dim + m.dim * m.vocab * (2 - m.tied)


def forward_flops(m, new, context):
    _check(new, cached=context)
    matrices = parameters(m) - m.dim * (2 * m.layers + 1) - (0 if m.tied else m.vocab * m.dim)
    per_pair = 4 * m.head_dim * m.heads * m.layers
    return 2 * matrices * new + per_pair * new * context + per_pair * new**2


def kv_bytes(m, tokens, *, dtype_bytes=2):
    _check(dtype_bytes, cached=tokens)
    return m.layers * m.kv_heads * 2 * m.head_dim * dtype_bytes * tokens


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    _check(batch, weight_bytes, kv_bytes_each, cached=context)
    work = batch * Fraction(forward_flops(m, 1, context))
    read = parameters(m) - (m.vocab * m.dim if not m.tied else 0)
    traffic = Fraction(weight_bytes) * read + batch * kv_bytes(m, context, dtype_bytes=kv_bytes_each)
    intensity, ridge = work / traffic, Fraction(card.flops) / Fraction(card.bandwidth)
    return float(work / Fraction(card.flops) if intensity > ridge else traffic / Fraction(card.bandwidth))


def critical_batch(card, *, weight_bytes=2.0):
    _check(weight_bytes)
    return float(Fraction(card.flops) / Fraction(card.bandwidth) * Fraction(weight_bytes) / 2)


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    _check(tokens, weight_bytes, kv_bytes_each)
    free = Fraction(card.memory) - Fraction(weight_bytes) * parameters(m)
    return floor(max(free, Fraction(0)) / kv_bytes(m, tokens, dtype_bytes=kv_bytes_each))


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    _check(parameter_count, workers)
    if not 0 <= stage < 4:
        raise ValueError("stage")
    fullest = ceil(Fraction(parameter_count, workers))
    sharded = {True: (0, 12, 14, 16), False: (0, 8, 12, 16)}[mixed][stage]
    return fullest * sharded + parameter_count * (16 - sharded)


def mfu(m, card, tokens_per_second, length):
    _check(tokens_per_second, length)
    needed = Fraction(tokens_per_second) * 3 * forward_flops(m, length, 0) / length
    return float(needed / Fraction(card.flops))
