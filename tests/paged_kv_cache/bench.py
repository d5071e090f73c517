"""One decoding step in one layer of an 8B model: 8 heads of 128, blocks of 16. The floor reads every stored key and value once;
a gather before the attention moves them three times."""

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

HEADS, HEAD_DIM, BLOCK_SIZE = 8, 128, 16


def filled(kata, bench, batch, stored):
    """A cache whose sequences have been appended to in turns, so that no table is a run of neighbours."""
    cache = kata.PagedKVCache(batch * stored // BLOCK_SIZE, BLOCK_SIZE, HEADS, HEAD_DIM, device=bench.device)
    for seq in range(batch):
        cache.create(seq)
    for _ in range(4):
        for seq in range(batch):
            cache.append(seq, *(bench.randn(HEADS, stored // 4, HEAD_DIM) for _ in range(2)))
    return cache


@work(
    batch=8,
    stored=1024,
    sweep={"batch": (1, 32), "stored": (256, 4096)},
    grows={"batch": 1, "stored": 1},
    tiny={"batch": 2, "stored": 256},
    gpu={"batch": 32, "stored": 4096},
)
def step(bench, batch, stored):
    """attend for a batch of sequences."""
    q = bench.randn(batch, HEADS, HEAD_DIM)
    keys, values = (torch.empty(batch, HEADS, stored, HEAD_DIM, device=bench.device) for _ in range(2))
    state = bench.rng.get_state()

    def of(kata):
        bench.rng.set_state(state)  # every cache holds the same tokens
        cache = filled(kata, bench, batch, stored)
        return lambda: cache.attend(list(range(batch)), q)

    bench.katas(of)
    bench.rng.set_state(state)
    for start in range(0, stored, stored // 4):
        for seq in range(batch):
            for part in (keys, values):
                part[seq, :, start : start + stored // 4] = bench.randn(HEADS, stored // 4, HEAD_DIM)
    bench.way("contiguous", lambda: F.scaled_dot_product_attention(q[:, :, None], keys, values)[:, :, 0])
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * batch * HEADS * stored * HEAD_DIM * 4)
