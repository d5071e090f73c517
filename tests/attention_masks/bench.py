"""Attention in a window of 256 over 4096 tokens. The floor is the FLOPs of the pairs that see each other."""

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def band(n, window, device):
    distance = torch.arange(n, device=device)[:, None] - torch.arange(n, device=device)
    return (distance >= 0) & (distance < window)


def dense(q, k, v, window):
    """All scores, and all but a band of them hidden."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return scores.masked_fill(~band(q.shape[-2], window, q.device), -torch.inf).softmax(-1) @ v


@work(
    heads=4,
    n=4096,
    window=256,
    dim=64,
    sweep={"n": (1024, 2048)},
    grows={"heads": 1, "n": 1},
    tiny={"n": 64, "window": 16},
    counts="flops",
    gpu={"heads": 8, "n": 16384, "window": 1024},
)
def window(bench, heads, n, window, dim):
    """Four heads, float32, without gradients."""
    q, k, v = (bench.randn(heads, n, dim) for _ in range(3))
    mask = band(n, window, bench.device)
    bench.katas(lambda kata: lambda: kata.window_attention(q, k, v, window))
    bench.way("naive: all scores, a band of them kept", lambda: dense(q, k, v, window))
    bench.way("torch's fused call with a mask", lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=4 * dim * heads * sum(min(i + 1, window) for i in range(n)))
