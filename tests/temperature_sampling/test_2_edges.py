"""Stage 2. Batches, limits, bad values."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, randn
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs

SHAPES = [(6,), (4, 6), (6, 6), (2, 3, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_row_has_its_own_distribution(rng, shape):
    """Any leading dimensions. At batch == vocab an operation along the wrong axis still has the right shape."""
    logits = randn(rng, *shape) + 2000 * randn(rng, *shape[:-1], 1)  # rows at very different heights
    probs = temperature_probs(logits, 0.7)
    expect_equal(list(probs.shape), list(shape), what="the shape of the probabilities")
    expect_close(
        probs.sum(-1),
        torch.ones(shape[:-1], dtype=torch.float64),
        what="the sum of each row's probabilities",
        hint="softmax, maximum and sum go along the last dimension (dim=-1, keepdim=True)",
    )
    expect_close(
        probs.log() - probs.log()[..., :1],
        (logits - logits[..., :1]) / 0.7,
        what="the log-odds in each row",
        hint="each row has a maximum and a sum of its own: dim=-1, keepdim=True",
    )


@pytest.mark.parametrize("sampler", [sample_token, gumbel_sample], ids=lambda sampler: sampler.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_token_is_drawn_for_each_row(rng, sampler, shape):
    """The result has the batch's shape, is int64, and each row's token is one that this row allows."""
    allowed = torch.rand(*shape, generator=rng).argsort(-1) < 2  # two tokens in each row
    probs = allowed.double() / 2
    for _ in range(20):
        tokens = sampler(probs if sampler is sample_token else probs.log())
        expect_equal(tokens.dtype, torch.int64, what="the tokens' dtype")
        expect_equal(
            list(tokens.shape),
            list(shape[:-1]),
            what="the tokens' shape",
            hint="one token a row and no axis left over; multinomial takes at most two dimensions, so flatten and restore",
        )
        expect(
            allowed.gather(-1, tokens[..., None]).all(),
            f"each row should draw one of the two tokens it allows {allowed.nonzero()[:, -1].tolist()}, but the rows drew {tokens.tolist()}",
            hint="draw along the last axis, each row with its own probabilities",
        )


@pytest.mark.parametrize("sampler", [sample_token, gumbel_sample], ids=lambda sampler: sampler.__name__)
def test_draws_are_fresh_for_each_row_and_call(sampler):
    """64 equal rows of 8 equal tokens: that all agree, or that two calls agree everywhere, has probability under 1e-56."""
    flat = torch.full((64, 8), 1 / 8, dtype=torch.float64)
    first, second = sampler(flat), sampler(flat)
    expect(
        first.unique().numel() > 1,
        "64 equal rows should draw different tokens, but all drew the same one",
        hint="random numbers of the whole batch's shape, one set for each row",
    )
    expect(
        not torch.equal(first, second),
        "two calls should draw afresh, but gave the same 64 tokens",
        hint="do not seed anything yourself",
    )


def test_temperature_zero_is_one_hot_at_the_lowest_of_equals():
    """Dividing by zero gives NaN; a tiny T instead of 0 shares the mass among equals. Greedy decoding must be reproducible."""
    logits = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    want = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    hint = "T=0 needs a path of its own: 1.0 at logits.argmax(-1), in the dtype of the logits"
    expect_equal(temperature_probs(logits, 0.0), want, what="temperature_probs(T=0)", hint=hint)
    expect_equal(temperature_probs(logits[0], 0), want[0], what="temperature_probs(T=0) of one row", hint=hint)
    expect_equal(
        temperature_probs(logits.expand(3, 2, 4), 0.0),
        want.expand(3, 2, 4),
        what="temperature_probs(T=0) of [3, 2, 4]",
        hint=hint,
    )


def test_gumbel_at_temperature_zero_is_greedy():
    """No noise at T = 0: the same token every time, and the lowest index among equals."""
    logits = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    for _ in range(10):
        for shape in ((4,), (2, 4), (3, 2, 4)):
            expect_equal(
                gumbel_sample(logits[0] if shape == (4,) else logits.expand(shape), 0.0),
                torch.tensor(1) if shape == (4,) else torch.tensor([1, 0]).expand(shape[:-1]),
                what=f"gumbel_sample(T=0) of {list(shape)}",
                hint="T=0: argmax over the last axis, without noise",
            )


def test_temperature_goes_from_greedy_to_uniform(rng):
    """The two limits say it all: T -> 0 is the argmax, T -> infinity does not look at the logits. |z| / T stays under
    1e-5 there, so each probability is within 1e-5 of 1/9."""
    logits = torch.rand(4, 9, generator=rng, dtype=torch.float64).argsort(-1).double()
    cold, hot = temperature_probs(logits, 1e-6), temperature_probs(logits, 1e6)
    expect_close(cold, (logits == 8).double(), what="temperature_probs(T=1e-6)", hint="a low T sharpens")
    expect_close(
        hot, torch.full_like(hot, 1 / 9), what="temperature_probs(T=1e6)", hint="a high T flattens", rtol=0.0, atol=1e-5
    )


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, float("nan")])
def test_a_negative_temperature_is_an_error(temperature):
    """A negative T prefers the worst tokens, and NaN fails every comparison: `T < 0` alone lets it through."""
    for function in (temperature_probs, gumbel_sample):
        with expect_raises(
            ValueError,
            what=f"{function.__name__}(temperature={temperature})",
            hint="`not temperature >= 0` also catches NaN",
        ):
            function(torch.zeros(2, 4), temperature)
