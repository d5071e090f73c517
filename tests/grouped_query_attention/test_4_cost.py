"""Stage 4. Memory, and no loops."""

import pytest
import torch

from dojo.testing import HALVES, expect, expect_flat_operators, randn
from katas.grouped_query_attention import grouped_attention

KEYS, DIM = 128, 128
HINT_HALVES = "k and v stay in their dtype and are not repeated; only scores, which are few, may be widened"
HINT = "give the heads of a group a common axis of q and multiply once for each KV head; whatever is expanded, matmul copies"


def at_scale(rng, heads, kv_heads, *, batch=2, queries=4, keys=16, dim=8):
    """Inputs in float32."""
    shapes = (batch, heads, queries, dim), *[(batch, kv_heads, keys, dim)] * 2
    return [randn(rng, *shape).float() for shape in shapes]


@pytest.mark.parametrize("memory", ["contiguous", "slices of a longer cache"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES, torch.float64], ids=str)
def test_a_decoding_step_reads_k_and_v_once(rng, cost, dtype, memory):
    """16 query heads on 4 KV heads, one query. The step takes as long as its bytes; K and V repeated are written and read
    four times as large, and in float32 twice as large as in float16. The scores are small beside them, 1/64."""
    q, k, v = (t.to(dtype) for t in at_scale(rng, 16, 4, batch=1, queries=1, keys=KEYS + 16, dim=DIM))
    k, v = k[:, :, :KEYS], v[:, :, :KEYS]
    if memory == "contiguous":
        k, v = k.contiguous(), v.contiguous()
    most = 2 if dtype in HALVES else 1.5
    for causal in (False, True):
        with cost() as spent:
            grouped_attention(q, k, v, causal=causal)
        ratio = spent.bytes / (2 * k.numel() * k.element_size())
        common = ", ".join(f"{name} {count}" for name, count in spent.calls.most_common(4))
        step = f"a step in {dtype} (causal={causal}, k and v {memory})"
        sentence = (
            f"torch operators should do the work of {step}, but they moved only {ratio:.2f}x the bytes of k and v"
        )
        expect(ratio >= 1, sentence, hint="compute with torch: numpy and Python loops are not counted")
        sentence = f"{step} should move at most {most}x the bytes of k and v, but moved {ratio:.2f}x ({common})"
        expect(ratio <= most, sentence, hint=HINT_HALVES if dtype in HALVES else HINT)


@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
def test_nothing_is_larger_than_the_scores(rng, cost, causal):
    """16 queries, dim 64: K repeated for each query head would be four times as large as the scores, and a product by
    broadcasting 64 times."""
    q, k, v = at_scale(rng, 8, 2, queries=16, keys=128, dim=64)
    with cost() as spent:
        grouped_attention(q, k, v, causal=causal)
    scores = 2 * 8 * 16 * 128
    sentence = f"nothing should be larger than the scores, {scores} elements, but a tensor has {spent.largest}"
    expect(spent.largest <= 1.1 * scores, sentence, hint=HINT)


def test_the_flops_are_those_of_multi_head_attention(rng, cost):
    """4 x batch x heads x queries x keys x dim: grouping saves bytes, and not a single product."""
    q, k, v = at_scale(rng, 8, 2, queries=16, keys=128, dim=64)
    with cost() as spent:
        grouped_attention(q, k, v)
    flops = 4 * 2 * 8 * 16 * 128 * 64
    sentence = f"torch operators should do the work, but only {spent.flops / flops:.2f}x its FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="q k^T and weights v are matrix products")
    sentence = f"attention should cost {flops:.4g} FLOPs, but cost {spent.flops / flops:.2f}x that"
    expect(spent.flops <= 1.02 * flops, sentence, hint="each query head meets its own KV head, and no other")


@pytest.mark.parametrize(
    ("name", "sizes", "slack"),
    [
        ("samples", [{"batch": 2}, {"batch": 16}], 0),
        ("queries", [{"queries": 2}, {"queries": 16}], 0),
        ("query heads on 2 KV heads", [{"heads": 4}, {"heads": 32}], 0),
        ("KV heads, 12 operators for each allowed,", [{"heads": 4}, {"heads": 32, "kv_heads": 16}], 12 * 14),
    ],
    ids=["batch", "queries", "query heads", "KV heads"],
)
def test_operators_do_not_grow(rng, name, sizes, slack):
    """A python loop launches kernels one by one, and each of them is small. One over the KV heads passes, if it is lean."""
    for causal in (False, True):
        expect_flat_operators(
            lambda size, q, k, v, causal=causal: grouped_attention(q, k, v, causal=causal),
            lambda size: (size, *at_scale(rng, **({"heads": 4, "kv_heads": 2} | size))),
            sizes,
            what=f"attention (causal={causal}) with more {name}",
            hint="the batch and the KV heads are batch axes of one product, the queries of a group its rows",
            slack=slack,
        )
