"""transformers: its call of torch's fused attention, which Llama uses.

With a mask it repeats K and V unless this variable of the environment says otherwise. Of pooling it knows nothing."""

import os
from types import SimpleNamespace

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

os.environ["TRANSFORMERS_SDPA_FORCE_GQA"] = "1"


def grouped_attention(q, k, v, *, causal=False):
    if k.shape != v.shape or (k.shape[0], k.shape[3]) != (q.shape[0], q.shape[3]):
        raise ValueError("q, k and v do not fit each other")
    if not k.shape[1] or q.shape[1] % k.shape[1]:
        raise ValueError("heads")
    mask = None
    if causal:
        if q.shape[2] > k.shape[2]:
            raise ValueError("more queries than keys")
        shape = (1, 1, q.shape[2], k.shape[2])
        mask = torch.ones(shape, dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
    module = SimpleNamespace(num_key_value_groups=q.shape[1] // k.shape[1], is_causal=False)
    return sdpa_attention_forward(module, q, k, v, mask)[0].transpose(1, 2)


def pool_kv_heads(weight, heads, kv_heads):
    if min(heads, kv_heads) < 1 or heads % kv_heads or len(weight) % heads:
        raise ValueError("heads")
    return weight.unflatten(0, (kv_heads, heads // kv_heads, -1)).mean(1).flatten(0, 1)


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    return 2 * layers * kv_heads * head_dim * dtype_bytes
