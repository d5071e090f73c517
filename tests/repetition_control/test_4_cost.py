"""Stage 4. Cost."""

import torch

from dojo.testing import expect, randint

from .helpers import EACH, each_function


@each_function
def test_nothing_of_length_times_vocabulary_is_built(rng, cost, name):
    """one_hot(tokens) is [batch, length, vocab]: 512 times the bytes of the logits here, and 8 GB in int64 for one row
    of 8192 tokens and a vocabulary of 128 256. A few tensors of the size of the logits or the tokens are enough."""
    logits, tokens = torch.rand(2, 4096, generator=rng), randint(rng, 0, 4096, 2, 256)
    tokens[:, -2:] = tokens[:, 10:12]
    with cost() as spent:
        EACH[name](logits, tokens)
    ratio = spent.allocated / (logits.nbytes + tokens.nbytes)
    expect(
        ratio > 0.5,
        f"{name} should give a new tensor, made by torch operators, but they allocated only {ratio:.2f}x the bytes of its arguments",
    )
    expect(
        ratio <= 100,
        f"{name} of [2, 4096] logits and 256 tokens a row should allocate at most 100x the bytes of its arguments, but allocated {ratio:.0f}x ({dict(spent.calls.most_common(6))})",
        hint="gather, scatter and scatter_add go from [batch, length] to [batch, vocab] without a one-hot tensor in between; a loop changes one copy in place",
    )
