"""Writes every tensor's shape down; what is stored, multiplied and read are sums over those lists."""

from dataclasses import dataclass
from math import prod


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


def layer(m):
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return [(q, m.dim), (kv, m.dim), (kv, m.dim), (m.dim, q), (m.hidden, m.dim), (m.hidden, m.dim), (m.dim, m.hidden)]


def read_tensors(m):
    return [(m.dim,), (m.dim,), *layer(m)] * m.layers + [(m.dim,), (m.vocab, m.dim)]


def stored(m):
    return read_tensors(m) + [(m.vocab, m.dim)] * (not m.tied)


def parameters(m):
    return sum(map(prod, stored(m)))


def forward_flops(m, new, context):
    if new < 1 or context < 0:
        raise ValueError("new tokens after cached ones")
    keys = context + new
    products = [(new, *shape) for shape in read_tensors(m) if len(shape) == 2]
    products += [(m.heads, new, m.head_dim, keys), (m.heads, new, keys, m.head_dim)] * m.layers
    return 2 * sum(map(prod, products))


def kv_bytes(m, tokens, *, dtype_bytes=2):
    if tokens < 0 or dtype_bytes < 1:
        raise ValueError("tokens and their bytes")
    return sum(prod((m.kv_heads, tokens, m.head_dim)) * dtype_bytes for _ in range(m.layers) for _ in "kv")


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    if batch < 1 or weight_bytes <= 0:
        raise ValueError("a batch, and weights of some bytes")
    flops = sum([forward_flops(m, 1, context)] * batch)
    moved = sum(prod(shape) * weight_bytes for shape in read_tensors(m))
    moved += sum([kv_bytes(m, context, dtype_bytes=kv_bytes_each)] * batch)
    times = [flops / card.flops, moved / card.bandwidth]
    return sorted(times)[-1]


def critical_batch(card, *, weight_bytes=2.0):
    if weight_bytes <= 0:
        raise ValueError("weight_bytes")
    reading, computing = weight_bytes / card.bandwidth, 2 / card.flops  # of one weight
    return reading / computing


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    if tokens < 1 or weight_bytes <= 0:
        raise ValueError("tokens, and weights of some bytes")
    left = card.memory - sum(prod(shape) for shape in stored(m)) * weight_bytes
    each = kv_bytes(m, tokens, dtype_bytes=kv_bytes_each)
    return int(left // each) if left > 0 else 0


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    if parameter_count < 1 or workers < 1 or not 0 <= stage <= 3:
        raise ValueError("parameters, workers and a stage")
    largest = parameter_count // workers + (parameter_count % workers > 0)
    held = [largest if stage >= sharded_from else parameter_count for sharded_from in (3, 2, 1, 1, 1)]
    each = [2, 2, 4, 4, 4] if mixed else [4, 4, 0, 4, 4]  # weight, gradient, copy, two moments
    return sum(count * size for count, size in zip(held, each, strict=True))


def mfu(m, card, tokens_per_second, length):
    if tokens_per_second <= 0:
        raise ValueError("tokens_per_second")
    sequences_per_second = tokens_per_second / length if length > 0 else 0
    forward = forward_flops(m, length, 0)
    return sequences_per_second * (forward + 2 * forward) / card.flops
