"""A decoding step of Llama 3 8B's heads, bound by reading K and V once, and a chunk of queries, bound by its FLOPs."""

from functools import partial

from torch.nn import functional as F

from dojo.testing.bench import work

HEADS, KV_HEADS, DIM = 32, 8, 128


def attend(q, k, v):
    return (q * DIM**-0.5 @ k.mT).softmax(-1) @ v


def repeated(q, k, v):
    """K and V in memory for every query head."""
    k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
    return attend(q, k, v)


def broadcast(q, k, v):
    """A product over an expanded dimension, which is copied."""
    return attend(q.unflatten(1, (KV_HEADS, -1)), k[:, :, None], v[:, :, None]).flatten(1, 2)


def prepare(bench, batch, queries, keys):
    q = bench.randn(batch, HEADS, queries, DIM)
    k, v = (bench.randn(batch, KV_HEADS, keys, DIM) for _ in range(2))
    bench.katas(lambda kata: partial(kata.grouped_attention, q, k, v))
    bench.way("naive: repeat_interleave", partial(repeated, q, k, v))
    bench.way("a broadcast product", partial(broadcast, q, k, v))
    bench.way("torch's fused call", partial(F.scaled_dot_product_attention, q, k, v, enable_gqa=True))
    bench.adapted("transformers", lambda module: partial(module.grouped_attention, q, k, v))
    bench.same(rtol=1e-4, atol=1e-5)
    return q, k


@work(
    batch=8,
    keys=2048,
    sweep={"batch": (1, 2), "keys": (512, 1024)},
    grows={"batch": 1, "keys": 1},
    tiny={"batch": 2, "keys": 64},
    gpu={"batch": 32, "keys": 8192},
)
def step(bench, batch, keys):
    """One query for each sample."""
    q, k = prepare(bench, batch, 1, keys)
    bench.floor(bytes=2 * (q.nbytes + k.nbytes))


@work(
    batch=1,
    queries=512,
    keys=2048,
    sweep={"queries": (128, 256), "keys": (512, 1024)},
    grows={"queries": 1, "keys": 1},
    tiny={"queries": 16, "keys": 64},
    counts="flops",
)
def chunk(bench, batch, queries, keys):
    """A chunk of a prefill: as many FLOPs as multi-head attention has."""
    prepare(bench, batch, queries, keys)
    bench.floor(flops=4 * batch * HEADS * queries * keys * DIM)
