"""One decoding step in one layer of an 8B model: 8 key-value heads of 128. The floor reads every stored key and value."""

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

HEADS, HEAD_DIM = 8, 128


@work(batch=4, stored=1024, sweep={"batch": (1, 16), "stored": (256, 4096)}, grows={"batch": 1, "stored": 1})
def step(bench, batch, stored):
    """One token for each row, written and attended to."""
    keys, values = (bench.randn(batch, HEADS, stored, HEAD_DIM) for _ in range(2))
    q, k, v = (bench.randn(batch, HEADS, 1, HEAD_DIM) for _ in range(3))
    counts = torch.tensor([stored] * batch, device=bench.device)
    one = torch.ones_like(counts)

    def of(kata):
        cache = kata.KVCache(1, batch, HEADS, stored + 1, HEAD_DIM, device=bench.device)
        cache.write(0, keys, values, counts)
        cache.advance(counts)

        def run():  # without advance, so that every run is the same step
            cache.write(0, k, v, one)
            return cache.attend(0, q, one)

        return run

    bench.katas(of)
    bench.way(
        "naive: torch.cat",
        lambda: F.scaled_dot_product_attention(q, torch.cat([keys, k], 2), torch.cat([values, v], 2)),
    )
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * batch * HEADS * (stored + 1) * HEAD_DIM * 4)
