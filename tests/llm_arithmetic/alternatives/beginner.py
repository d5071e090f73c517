"""Step by step: a counter, one layer after the other, every error written out; a batch found by filling the memory."""

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


def parameters(m):
    count = 0
    count += m.vocab * m.dim  # embedding
    for _ in range(m.layers):
        count += m.dim
        count += m.dim * m.heads * m.head_dim
        count += m.dim * m.kv_heads * m.head_dim
        count += m.dim * m.kv_heads * m.head_dim
        count += m.heads * m.head_dim * m.dim
        count += m.dim
        count += m.dim * m.hidden
        count += m.dim * m.hidden
        count += m.hidden * m.dim
    count += m.dim
    if not m.tied:
        count += m.dim * m.vocab
    return count


def forward_flops(m, new, context):
    if new <= 0:
        raise ValueError("new")
    if context < 0:
        raise ValueError("context")
    total = 0
    for _ in range(m.layers):
        for outputs in (m.heads * m.head_dim, m.kv_heads * m.head_dim, m.kv_heads * m.head_dim):
            total += 2 * new * m.dim * outputs
        for _ in range(m.heads):
            total += 2 * new * m.head_dim * (context + new)
            total += 2 * new * (context + new) * m.head_dim
        total += 2 * new * m.heads * m.head_dim * m.dim
        total += 2 * new * m.dim * m.hidden + 2 * new * m.dim * m.hidden
        total += 2 * new * m.hidden * m.dim
    total += 2 * new * m.dim * m.vocab
    return total


def kv_bytes(m, tokens, *, dtype_bytes=2):
    if tokens < 0:
        raise ValueError("tokens")
    if dtype_bytes <= 0:
        raise ValueError("dtype_bytes")
    keys = m.layers * tokens * m.kv_heads * m.head_dim
    values = keys
    return (keys + values) * dtype_bytes


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    if batch <= 0:
        raise ValueError("batch")
    if weight_bytes <= 0:
        raise ValueError("weight_bytes")
    if kv_bytes_each <= 0:
        raise ValueError("kv_bytes_each")
    if context < 0:
        raise ValueError("context")
    weights = parameters(m)
    if not m.tied:
        weights = weights - m.vocab * m.dim
    memory_seconds = weights * weight_bytes / card.bandwidth
    memory_seconds += batch * kv_bytes(m, context, dtype_bytes=kv_bytes_each) / card.bandwidth
    compute_seconds = forward_flops(m, 1, context) / card.flops * batch
    if compute_seconds > memory_seconds:
        return compute_seconds
    return memory_seconds


def critical_batch(card, *, weight_bytes=2.0):
    if weight_bytes <= 0:
        raise ValueError("weight_bytes")
    flops_per_byte = card.flops / card.bandwidth
    return flops_per_byte * (weight_bytes / 2)


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    if tokens <= 0:
        raise ValueError("tokens")
    if weight_bytes <= 0:
        raise ValueError("weight_bytes")
    each = kv_bytes(m, tokens, dtype_bytes=kv_bytes_each)
    used = parameters(m) * weight_bytes
    sequences = 0
    for several in (1000, 1):  # one by one it takes a second
        while used + several * each <= card.memory:
            used += several * each
            sequences += several
    return sequences


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    if parameter_count <= 0:
        raise ValueError("parameter_count")
    if workers <= 0:
        raise ValueError("workers")
    if stage < 0 or stage > 3:
        raise ValueError("stage")
    shard = (parameter_count + workers - 1) // workers
    weights = gradients = optimizer = parameter_count
    if stage >= 1:
        optimizer = shard
    if stage >= 2:
        gradients = shard
    if stage == 3:
        weights = shard
    if mixed:
        return 2 * weights + 2 * gradients + 12 * optimizer
    return 4 * weights + 4 * gradients + 8 * optimizer


def mfu(m, card, tokens_per_second, length):
    if tokens_per_second <= 0:
        raise ValueError("tokens_per_second")
    if length <= 0:
        raise ValueError("length")
    forward = forward_flops(m, length, 0)
    backward = 2 * forward
    return (forward + backward) * (tokens_per_second / length) / card.flops
