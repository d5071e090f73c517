"""Stage 3. Numerics and dtypes."""

import pytest
import torch

from dojo.testing import FLOATS, HALVES, expect_close, expect_equal, expect_unchanged, randint, randn
from katas.repetition_control import frequency_presence_penalty

from .helpers import EACH, INF, doubles, each_function, history


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_function
def test_every_floating_dtype_works(name, dtype):
    """All numbers here are multiples of 1/8, exact in every dtype, so the results are equal too."""
    logits = torch.tensor([[1.0, -2.0, 3.5, 0.5, -0.5], [-4.0, 1.5, 0.0, 2.0, 1.0]])
    tokens = torch.tensor([[1, 2, 2, 1], [0, 3, 4, 3]])
    want = {
        "repetition_penalty": [[1.0, -4.0, 1.75, 0.5, -0.5], [-8.0, 1.5, 0.0, 1.0, 0.5]],
        "frequency_presence_penalty": [[1.0, -3.25, 2.25, 0.5, -0.5], [-4.75, 1.5, 0.0, 0.75, 0.25]],
        "block_repeated_ngrams": [[1.0, -2.0, -INF, 0.5, -0.5], [-4.0, 1.5, 0.0, 2.0, -INF]],
    }[name]
    expect_equal(
        EACH[name](logits.to(dtype), tokens),
        torch.tensor(want, dtype=dtype),
        what=f"{name} of {dtype} logits",
        hint="the same rule in every dtype, and the result in the dtype of the logits",
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_counts_are_exact_in_half_precision(dtype):
    """In bfloat16 256 + 1 is 256, in float16 2048 + 1 is 2048: a running count in those dtypes stops there."""
    tokens = torch.zeros(1, 5120, dtype=torch.int64)
    expect_equal(
        frequency_presence_penalty(torch.tensor([[64.0, 1.0]], dtype=dtype), tokens, 1 / 128, 0.0),
        torch.tensor([[24.0, 1.0]], dtype=dtype),
        what=f"frequency_presence_penalty of {dtype} logits [64, 1], token 0 seen 5120 times, frequency=1/128",
        hint="count in integers or float32, and convert only the result",
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_function
def test_banned_tokens_stay_banned(name, dtype):
    """A logit of -inf stays -inf, seen or not, and no NaN appears: 0 * inf and inf - inf are near."""
    logits = doubles(-INF, 2, -INF, -1).to(dtype)
    result = EACH[name](logits, history(0, 1, 3, 0))
    want = {
        "repetition_penalty": doubles(-INF, 1, -INF, -2),
        "frequency_presence_penalty": doubles(-INF, 1.25, -INF, -1.75),
        "block_repeated_ngrams": doubles(-INF, -INF, -INF, -1),
    }[name]
    expect_equal(
        result,
        want.to(dtype),
        what=f"{name}([-inf, 2, -inf, -1], tokens [0, 1, 3, 0]) in {dtype}",
        hint="ban with masked_fill or an assignment; a mask times -inf is NaN where the mask is 0",
    )


@each_function
def test_the_arguments_are_not_modified(rng, name):
    """The caller keeps the raw logits for log-probabilities, and goes on appending to the tokens."""
    logits, tokens = randn(rng, 3, 5), randint(rng, 0, 5, 3, 6)
    with expect_unchanged(logits, tokens, what="an argument"):
        EACH[name](logits, tokens).fill_(0.0)
        EACH[name](logits, tokens[:, :0]).fill_(0.0)  # a new tensor, also when nothing is to be done
        EACH[name](logits, tokens[:, :1]).fill_(0.0)


@each_function
def test_views_with_any_strides_work(rng, name):
    """Logits are often a slice `[:, -1, :]`, and tokens a slice of a larger buffer or a transpose of [length, batch]."""
    logits, tokens = randn(rng, 4, 6), randint(rng, 0, 6, 4, 9)
    expect_close(
        EACH[name](logits.T.contiguous().T, tokens.T.contiguous().T),
        EACH[name](logits, tokens),
        what=f"{name} of transposed views",
        hint="reshape, not view",
    )
