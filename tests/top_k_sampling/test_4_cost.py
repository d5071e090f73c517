"""Stage 4. Cost."""

import torch

from dojo.testing import expect_flat_operators, expect_traffic
from katas.top_k_sampling import sample_top_k, top_k_filter


def test_sampling_reads_the_vocabulary_about_once(rng, cost):
    """One topk pass over [8, 128256] costs 1.0x the bytes of the logits, and the rest works on k numbers a row.
    Filtering first, then softmax and multinomial over the whole vocabulary costs 9.5x and more."""
    logits = torch.rand(8, 128256, generator=rng)
    with cost() as spent:
        sample_top_k(logits, 50, 0.8)
    hint = "take the k best logits first (torch.topk); softmax and draw among those k, then map back to token ids"
    expect_traffic(spent, logits, 4, what="sample_top_k", of="[8, 128256] logits", hint=hint)


def test_the_batch_is_processed_at_once(rng):
    """A python loop over rows launches operators in proportion to the batch; on a GPU the launches are the cost."""
    expect_flat_operators(
        lambda logits: (top_k_filter(logits, 5), sample_top_k(logits, 5)),
        lambda rows: [torch.rand(rows, 50, generator=rng)],
        (4, 64),
        what="top_k_filter and sample_top_k",
        hint="topk, softmax, multinomial and gather all take a batch",
    )
