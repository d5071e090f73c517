"""Stage 4. On a GPU: a check stays where the probabilities are."""

import pytest
import torch

from dojo.testing import expect_distribution, expect_equal
from katas.speculative_decoding import verify

from .helpers import DRAWS, KEEP, P, Q, drawn, expect_form, repeated


@pytest.mark.gpu
@pytest.mark.parametrize("gamma", [0, 3])
def test_everything_stays_on_the_gpu(rng, gamma):
    """Draws, replacements and results; the generator is the GPU's own."""
    q, p = repeated(Q, DRAWS, gamma), repeated(P, DRAWS, gamma + 1)
    drafted = drawn(rng, q) if gamma else torch.zeros(DRAWS, 0, dtype=torch.int64)
    generator = torch.Generator("cuda").manual_seed(1)
    tokens, counts = verify(drafted.cuda(), q.cuda(), p.cuda(), generator=generator)
    expect_equal((tokens.device.type, counts.device.type), ("cuda", "cuda"), what="the devices of tokens and counts")
    expect_form(tokens.cpu(), counts.cpu(), DRAWS, gamma)
    expect_distribution(tokens[:, 0], P, what="the first tokens on the GPU", hint=KEEP)
