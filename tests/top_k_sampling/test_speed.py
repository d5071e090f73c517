"""How fast, beside the naive way and transformers: `pytest --benchmark-only --katas=solutions tests/top_k_sampling`. No verdict on seconds."""

from functools import partial

import pytest
import torch

from dojo.testing import expect
from dojo.testing.gpu import compare, copy_bandwidth, gpu_benchmark, installed, report, seconds_of
from katas.top_k_sampling import sample_top_k

BATCH, VOCAB, K = 8, 128256, 50


def naive(logits, k):
    """Filter, softmax and draw over the whole vocabulary."""
    threshold = logits.topk(k).values[..., -1:]
    probs = logits.masked_fill(logits < threshold, -torch.inf).softmax(-1)
    return torch.multinomial(probs, 1).squeeze(-1)


def with_transformers(logits, k):
    """The installed library's filter, then softmax and multinomial, as its generate() does."""
    from transformers import TopKLogitsWarper

    return torch.multinomial(TopKLogitsWarper(k)(None, logits).softmax(-1), 1).squeeze(-1)


def expect_top_k(logits, tokens):
    rank = (logits > logits.gather(-1, tokens[:, None])).sum(-1)
    expect((rank < K).all(), f"every token should be among the {K} best of its row, but the ranks are {rank.tolist()}")


def test_speed_on_cpu(benchmark, capsys, rng):
    """Yours, the naive way and the library take turns; the printed ratios are what to look at."""
    logits = torch.randn(BATCH, VOCAB, generator=rng)
    ways = {"yours": sample_top_k, "naive": naive}
    if installed("transformers"):
        ways["transformers"] = with_transformers
    for way in ways.values():
        expect_top_k(logits, way(logits, K))
    compare(benchmark, capsys, {name: partial(way, logits, K) for name, way in ways.items()})


@pytest.mark.gpu
@pytest.mark.benchmark(group="top-k sampling on CUDA, [64, 128256] bfloat16, k = 50")
def test_speed_on_gpu(benchmark, capsys):
    """The floor is reading the logits once; reported as a fraction of the copy bandwidth measured just before."""
    ceiling = copy_bandwidth()

    def inputs():
        return (torch.randn(64, VOCAB, device="cuda", dtype=torch.bfloat16), K)

    (logits, _), tokens = gpu_benchmark(benchmark, sample_top_k, inputs)
    expect_top_k(logits, tokens)
    achieved = logits.nbytes / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"read the logits at {achieved / 1e9:.0f} GB/s, {achieved / ceiling:.0%} of this card's {ceiling / 1e9:.0f} GB/s",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip
