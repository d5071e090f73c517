"""Causal attention of 8 heads at 2048 tokens. The floor is the FLOPs of the visible half of both products."""

from functools import partial

from torch.nn import functional as F

from dojo.testing.bench import work

HEADS, DIM = 8, 64


def all_scores(q, k, v):
    """By the definition: the matrix of scores, and its half that is hidden, in memory."""
    hidden = q.new_ones(q.shape[-2], k.shape[-2]).triu(k.shape[-2] - q.shape[-2] + 1).bool()
    return (q * q.shape[-1] ** -0.5 @ k.mT).masked_fill(hidden, -float("inf")).softmax(-1) @ v


@work(
    batch=1,
    tokens=2048,
    sweep={"tokens": (512, 1024)},
    grows={"tokens": 2},
    tiny={"batch": 1, "tokens": 128},
    counts="flops",
    gpu={"batch": 4, "tokens": 8192},
)
def causal(bench, batch, tokens):
    """Blocks of 256, the larger the fewer operators."""
    q, k, v = (bench.randn(batch, HEADS, tokens, DIM) for _ in range(3))

    def tiled(kata):
        return lambda: kata.flash_attention(q, k, v, causal=True, block_q=256, block_k=256)[0]

    bench.katas(tiled)
    bench.way("naive: all scores at once", partial(all_scores, q, k, v))
    bench.way("torch's fused call", partial(F.scaled_dot_product_attention, q, k, v, is_causal=True))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(flops=2 * batch * HEADS * tokens * (tokens + 1) * DIM)
