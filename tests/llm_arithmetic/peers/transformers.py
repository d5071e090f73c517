"""transformers' Mistral, whose layers are this decoder's, built without memory: its parameters, its cache, and the FLOPs of
its forward and backward by torch's FlopCounterMode. Its rotary embedding needs an even head_dim, so the FLOPs and caches of
other models come from formulas, and so does everything about cards and workers."""

from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, MistralConfig, MistralForCausalLM


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


@cache
def built(m):
    config = MistralConfig(
        vocab_size=m.vocab,
        hidden_size=m.dim,
        intermediate_size=m.hidden,
        num_hidden_layers=m.layers,
        num_attention_heads=m.heads,
        num_key_value_heads=m.kv_heads,
        head_dim=m.head_dim,
        tie_word_embeddings=m.tied,
        attn_implementation="eager",
        sliding_window=None,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.device("meta"):
        return MistralForCausalLM(config)


def run(m, new, past=None, train=False):
    """FLOPs, and the cache afterwards."""
    tokens = torch.zeros(1, new, dtype=torch.int64, device="meta")
    mask = torch.zeros(1, 1, new, new + (past.get_seq_length() if past else 0), device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
        out = built(m)(tokens, attention_mask=mask, past_key_values=past, use_cache=past is not None)
        if train:
            out.logits.sum().backward()
    return counter.get_total_flops()


def filled(m, tokens):
    past = DynamicCache(config=built(m).config)
    for layer in range(m.layers if tokens else 0):
        past.update(*(torch.empty(1, m.kv_heads, tokens, m.head_dim, device="meta") for _ in "kv"), layer)
    return past


def parameters(m):
    if m.head_dim % 2:  # their number is linear in head_dim
        even, more = (parameters(replace(m, head_dim=m.head_dim + step)) for step in (1, 3))
        return (3 * even - more) // 2
    return sum(p.numel() for p in built(m).parameters())


@cache
def flops(m, new, context):
    if m.head_dim % 2:
        return 2 * new * (read(m) - (2 * m.layers + 1) * m.dim) + 4 * m.layers * m.heads * m.head_dim * new * (
            context + new
        )
    return run(m, new, filled(m, context))


def forward_flops(m, new, context):
    if new < 1 or context < 0:
        raise ValueError("new tokens after cached ones")
    return flops(m, new, context)


@cache
def cached(m):
    """Numbers that a token leaves in the cache."""
    if m.head_dim % 2:
        return 2 * m.layers * m.kv_heads * m.head_dim
    past = DynamicCache(config=built(m).config)
    run(m, 1, past)
    return sum(layer.keys.numel() + layer.values.numel() for layer in past.layers)


def kv_bytes(m, tokens, *, dtype_bytes=2):
    if tokens < 0 or dtype_bytes < 1:
        raise ValueError("tokens, in some bytes")
    return cached(m) * tokens * dtype_bytes


def read(m):
    return parameters(m) - (0 if m.tied else m.vocab * m.dim)


def decode_seconds(m, card, batch, context, *, weight_bytes=2.0, kv_bytes_each=2):
    if batch < 1 or weight_bytes <= 0:
        raise ValueError("a batch, and weights of some bytes")
    moved = read(m) * weight_bytes + batch * kv_bytes(m, context, dtype_bytes=kv_bytes_each)
    return max(batch * forward_flops(m, 1, context) / card.flops, moved / card.bandwidth)


def critical_batch(card, *, weight_bytes=2.0):
    if weight_bytes <= 0:
        raise ValueError("weights of some bytes")
    return card.flops / card.bandwidth / 2 * weight_bytes


def max_batch(m, card, tokens, *, weight_bytes=2.0, kv_bytes_each=2):
    if tokens < 1 or weight_bytes <= 0:
        raise ValueError("tokens, and weights of some bytes")
    free = card.memory - ceil(parameters(m) * weight_bytes)
    return max(0, free // kv_bytes(m, tokens, dtype_bytes=kv_bytes_each))


def training_bytes(parameter_count, workers, stage, *, mixed=True):
    if parameter_count < 1 or workers < 1 or stage not in range(4):
        raise ValueError("parameters, workers and a stage")
    each = [12, 2, 2] if mixed else [8, 4, 4]
    shard = (parameter_count + workers - 1) // workers
    return sum((shard if place < stage else parameter_count) * size for place, size in enumerate(each))


def mfu(m, card, tokens_per_second, length):
    if tokens_per_second <= 0 or length < 1:
        raise ValueError("tokens a second, of some length")
    step = 3 * forward_flops(m, length, 0) if m.head_dim % 2 else run(m, length, train=True)
    return tokens_per_second / length * step / card.flops
