"""KV heads folded into the batch, queries of a group before its heads in the rows, a safe softmax by hand."""

import torch


def grouped_attention(q, k, v, *, causal=False):
    batch, heads, queries, dim = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    if v.shape != k.shape or k.shape[0] != batch or k.shape[-1] != dim:
        raise ValueError("shapes")
    try:
        group, rest = divmod(heads, kv_heads)
    except ZeroDivisionError:
        raise ValueError("no KV heads") from None
    if rest:
        raise ValueError("heads")
    if causal and queries > keys:
        raise ValueError("causal")
    # Row i * group + r is query i of the group's head r.
    rows = q.reshape(batch * kv_heads, group, queries, dim).transpose(1, 2).reshape(batch * kv_heads, -1, dim)
    scores = (rows * (1 / dim**0.5)).bmm(k.reshape(batch * kv_heads, keys, dim).transpose(1, 2))
    if causal:
        last = torch.arange(queries, device=q.device).repeat_interleave(group) + keys - queries
        scores = scores.masked_fill(torch.arange(keys, device=q.device) > last[:, None], float("-inf"))
    e = (scores - scores.max(-1, keepdim=True).values).exp()
    answers = (e / e.sum(-1, keepdim=True)).bmm(v.reshape(batch * kv_heads, keys, dim))
    return answers.view(batch * kv_heads, queries, group, dim).transpose(1, 2).reshape(batch, heads, queries, dim)


def pool_kv_heads(weight, heads, kv_heads):
    out = weight.shape[0]
    if not (heads >= 1 and kv_heads >= 1 and heads % kv_heads == 0 and out % heads == 0):
        raise ValueError("heads")
    rows = torch.arange(out, device=weight.device)
    head, row = rows // (out // heads), rows % (out // heads)
    to = head // (heads // kv_heads) * (out // heads) + row
    pooled = torch.zeros(out // heads * kv_heads, weight.shape[1], dtype=torch.float64, device=weight.device)
    return (pooled.index_add(0, to, weight.double()) / (heads / kv_heads)).to(weight.dtype)


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    return 2 * head_dim * kv_heads * dtype_bytes * layers
