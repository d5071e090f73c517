"""A layer of GPT-2 small at 1024 tokens, in evaluation. The floor is the FLOPs of the projections and the two products,
hidden half included; torch's fused call forms no scores, and skips what is hidden."""

import math

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

HEADS, DIM = 12, 768


def head_by_head(layer, x):
    """A loop over the heads, with slices and concatenation."""
    n, answers = x.shape[1], []
    hidden = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
    q, k, v = layer.qkv(x).chunk(3, -1)
    for block in torch.arange(DIM).split(DIM // HEADS):
        scores = q[..., block] @ k[..., block].mT / math.sqrt(len(block))
        answers.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v[..., block])
    return layer.out(torch.cat(answers, -1))


def fused(layer, x):
    """torch's own call, which this kata forbids."""
    q, k, v = layer.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    return layer.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2))


def attend(forward, *inputs):
    def run():
        with torch.no_grad():
            return forward(*inputs)

    return run


@work(
    batch=2,
    tokens=1024,
    sweep={"batch": (1, 4), "tokens": (256, 512)},
    grows={"batch": 1},
    tiny={"batch": 2, "tokens": 64},
    counts="flops",
    gpu={"batch": 8, "tokens": 2048},
)
def layer(bench, batch, tokens):
    """All tokens at once, without padding."""
    x = bench.randn(batch, tokens, DIM)
    first = next(iter(bench.implementations.values())).CausalSelfAttention(DIM, HEADS).to(bench.device).eval()

    def of(module):
        own = module.CausalSelfAttention(DIM, HEADS).to(bench.device).eval()
        own.load_state_dict(first.state_dict())
        return attend(own, x)

    bench.katas(of)
    bench.way("naive: head by head", attend(head_by_head, first, x))
    bench.way("torch's fused call", attend(fused, first, x))
    bench.adapted("transformers", of)
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(flops=batch * (8 * tokens * DIM**2 + 4 * tokens**2 * DIM))
