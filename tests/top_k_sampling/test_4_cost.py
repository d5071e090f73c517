"""Stage 4. Cost."""

import torch

from dojo.testing import expect
from katas.top_k_sampling import sample_top_k, top_k_filter


def test_sampling_reads_the_vocabulary_about_once(rng, cost):
    """One topk pass over [8, 128256] costs 1.0x the bytes of the logits, and the rest works on k numbers a row.
    Filtering first, then softmax and multinomial over the whole vocabulary costs 9.5x and more."""
    logits = torch.rand(8, 128256, generator=rng)
    with cost() as spent:
        sample_top_k(logits, 50, 0.8)
    ratio = spent.bytes / logits.nbytes
    expect(
        ratio >= 1,
        f"the work should be done by torch operators, but they saw only {ratio:.2f}x the logits' bytes",
        hint="use torch.topk",
    )
    expect(
        ratio <= 4,
        f"sampling from [8, 128256] logits should move at most 4x their bytes, but moved {ratio:.1f}x ({dict(spent.calls.most_common(6))})",
        hint="take the k best logits first; softmax and draw among those k, then map back to token ids",
    )


def test_the_batch_is_processed_at_once(rng, cost):
    """A python loop over rows launches operators in proportion to the batch; on a GPU the launches are the cost."""
    counts = []
    for batch in (4, 64):
        logits = torch.rand(batch, 50, generator=rng)
        with cost() as spent:
            top_k_filter(logits, 5)
            sample_top_k(logits, 5)
        counts.append(spent.operators)
    expect(counts[0] > 0, "the work should be done by torch operators, but none was seen")
    expect(
        counts[1] <= counts[0],
        f"64 rows should take as many operators as 4 rows ({counts[0]}), but took {counts[1]}",
        hint="topk, softmax, multinomial and gather all take a batch",
    )
