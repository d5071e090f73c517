"""What any right temperature sampler does. Tokens are never compared under a fixed seed: only supports and distributions."""

import pytest
import torch

from dojo.testing import (
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randn,
)
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs

N = 4000
INF = float("inf")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SHAPES = [(6,), (4, 6), (6, 6), (2, 3, 6)]


def doubles(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


# Stage 1: one distribution, two ways to draw


@pytest.mark.stage(1)
@pytest.mark.parametrize(("temperature", "weights"), [(1.0, (2, 4, 1)), (0.5, (4, 16, 1)), (2.0, (2**0.5, 2, 1))])
def test_a_worked_example(temperature, weights):
    """Logits log [2, 4, 1]: at T = 1 the odds are 2 : 4 : 1, at T = 1/2 their squares, at T = 2 their square roots."""
    expect_close(
        temperature_probs(doubles(2, 4, 1).log(), temperature),
        doubles(*weights) / sum(weights),
        what=f"temperature_probs(log [2, 4, 1], T={temperature})",
        hint="divide the logits by T, then one softmax: not T times the logits, and not probabilities divided by T",
    )


@pytest.mark.stage(1)
def test_log_odds_grow_by_one_over_t(rng):
    """log(p_i / p_j) = (z_i - z_j) / T is all that temperature does, for every pair and every T."""
    logits = randn(rng, 3, 7)
    for temperature in (0.3, 1.0, 1.7, 4.0):
        log_probs = temperature_probs(logits, temperature).log()
        expect_close(
            log_probs - log_probs[:, :1],
            (logits - logits[:, :1]) / temperature,
            what=f"the log-odds against token 0 at T={temperature}",
            hint="the temperature belongs inside the softmax: softmax(logits / T)",
        )


@pytest.mark.stage(1)
def test_tokens_follow_their_probabilities():
    """A token is *drawn*; the likeliest is only the likeliest. Chi-square, N = 4000: 1e-6 false alarms."""
    probs = doubles(0.1, 0.0, 0.45, 0.05, 0.4, 0.0)
    expect_distribution(
        sample_token(probs.expand(N, -1)),
        probs,
        what="tokens drawn by sample_token",
        hint="draw with the probabilities as they are: no argmax, no second softmax",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_gumbel_trick_draws_from_the_softmax(temperature):
    """The trick must give the very distribution above, also where T is not 1. Chi-square, N = 4000: 1e-6 false alarms."""
    odds = doubles(1, 5, 2, 10, 0.5)
    weights = odds ** (1 / temperature)
    expect_distribution(
        gumbel_sample(odds.log().expand(N, -1), temperature),
        weights / weights.sum(),
        what=f"tokens drawn by gumbel_sample at T={temperature}",
        hint="argmax(logits / T - log(-log u)): the noise is Gumbel and is not divided by T, one number for every token",
    )


@pytest.mark.stage(1)
def test_the_default_temperature_is_one():
    """T = 1 is the model's own distribution. Chi-square, N = 4000: 1e-6 false alarms."""
    odds = doubles(1, 4, 2)
    expect_distribution(
        gumbel_sample(odds.log().expand(N, -1)),
        odds / 7,
        what="tokens drawn by gumbel_sample(logits)",
        hint="temperature defaults to 1.0",
    )


# Stage 2: batches, limits, bad values


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_temperature_goes_from_greedy_to_uniform(rng):
    """The two limits say it all: T -> 0 is the argmax, T -> infinity does not look at the logits. |z| / T stays under
    1e-5 there, so each probability is within 1e-5 of 1/9."""
    logits = torch.rand(4, 9, generator=rng, dtype=torch.float64).argsort(-1).double()
    cold, hot = temperature_probs(logits, 1e-6), temperature_probs(logits, 1e6)
    expect_close(cold, (logits == 8).double(), what="temperature_probs(T=1e-6)", hint="a low T sharpens")
    expect_close(
        hot, torch.full_like(hot, 1 / 9), what="temperature_probs(T=1e6)", hint="a high T flattens", rtol=0.0, atol=1e-5
    )


# Stage 3: numerics, dtypes, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Probabilities keep the dtype of their logits. Logits are multiples of 1/8, exact in every dtype; two roundings
    (of z / T and of p) are allowed: 3 units of the last place of numbers up to 4, on top of torch's tolerance."""
    logits = torch.rand(4, 9, generator=rng, dtype=torch.float64).argsort(-1).double() / 8
    slack = 1e-6 + 12 * torch.finfo(dtype).eps
    for temperature in (0.0, 0.5, 2.0):
        probs = temperature_probs(logits.to(dtype), temperature)
        expect_equal(probs.dtype, dtype, what=f"the dtype of temperature_probs(T={temperature})", hint="convert back")
        expect_close(
            probs.double(),
            temperature_probs(logits, temperature),
            what=f"temperature_probs of {dtype} logits at T={temperature}, beside float64",
            rtol=slack,
            atol=slack,
        )
    for sampler, row in ((sample_token, doubles(0.25, 0.5, 0, 0.25)), (gumbel_sample, doubles(0, 1, -INF, 0))):
        odds = row if sampler is sample_token else row.exp()
        expect_distribution(
            sampler(row.to(dtype).expand(N, -1)),
            odds / odds.sum(),
            what=f"tokens drawn by {sampler.__name__} in {dtype}",
        )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(dtype, height):
    """exp(3e4) overflows in any dtype, and 3e4 / T overflows float16 for T < 0.46. Only differences matter."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0])).to(dtype)
    want = torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=dtype)
    hint = "subtract each row's maximum before anything can overflow: before exp, and before dividing by a small T"
    for temperature in (1.0, 1e-3, 1e-6):
        what = f"{dtype} logits around {height:g} at T={temperature}"
        expect_close(temperature_probs(logits, temperature), want, what=f"temperature_probs of {what}", hint=hint)
        tokens = gumbel_sample(logits.expand(300, -1), temperature)
        expect_equal(set(tokens.tolist()) - {0, 2}, set(), what=f"tokens drawn from {what}, beside 0 and 2", hint=hint)


@pytest.mark.stage(3)
def test_a_wide_row_at_a_high_temperature():
    """Logits 6e4 apart at T = 3e4: odds of e^2 to 1. Probabilities at T = 1 have already underflowed to 0 by then, so
    raising *them* to the power 1/T comes too late."""
    expect_close(
        temperature_probs(doubles(3e4, -3e4), 3e4),
        torch.softmax(doubles(2, 0), -1),
        what="temperature_probs([3e4, -3e4], T=3e4)",
        hint="divide the logits, not probabilities or their powers: exp(-6e4) is 0 and stays 0",
    )


@pytest.mark.stage(3)
def test_banned_tokens_stay_banned():
    """-inf minus a finite maximum is -inf, and its exponential exactly 0; a mean or a sum in its place gives NaN."""
    logits = doubles(-INF, 1.0, -INF, 1.0)
    for temperature in (0.1, 1.0, 30.0):
        expect_close(
            temperature_probs(logits, temperature),
            doubles(0, 0.5, 0, 0.5),
            what=f"temperature_probs([-inf, 1, -inf, 1], T={temperature})",
            hint="a logit of -inf has probability 0, at every temperature",
        )
        expect_equal(
            set(gumbel_sample(logits.expand(500, -1), temperature).tolist()),
            {1, 3},
            what=f"the tokens drawn by gumbel_sample at T={temperature}",
            hint="-inf + noise is still -inf",
        )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gumbel_noise_survives_half_precision(dtype):
    """Two equal logits of 3e4, where half precision has steps of 16 or 128: noise added there is lost, and token 0
    always wins. And with u on a grid of 1/256 a token loses with g = -inf once in 256 draws, however likely it is:
    N = 400000 draws of a token with probability 1e-4 show it. Chi-square: 1e-6 false alarms."""
    hint = "draw the noise and add it in float32: convert the logits first"
    expect_distribution(
        gumbel_sample(torch.full((N, 2), 3e4, dtype=dtype)),
        doubles(0.5, 0.5),
        what=f"tokens drawn by gumbel_sample from {dtype} logits [3e4, 3e4]",
        hint=hint,
    )
    logits = torch.tensor([9.1875, 0.0], dtype=dtype)  # exact in both dtypes
    expect_distribution(
        gumbel_sample(logits.expand(400_000, -1)),
        logits.double().softmax(-1),
        what=f"tokens drawn by gumbel_sample from {dtype} logits [9.1875, 0]",
        hint=hint,
    )


@pytest.mark.stage(3)
def test_the_arguments_are_not_modified(rng):
    """The caller still needs the logits, for the log-probability of what was drawn."""
    logits = randn(rng, 3, 8)
    probs = randn(rng, 3, 8).softmax(-1)
    with expect_unchanged(logits, probs, what="an argument"):
        for temperature in (0.0, 0.7, 1.0):
            temperature_probs(logits, temperature).fill_(0.0)  # the result is a new tensor
            gumbel_sample(logits, temperature)
        sample_token(probs)


@pytest.mark.stage(3)
def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = torch.rand(5, 4, 6, generator=rng, dtype=torch.float64).argsort(-1).double() * 50
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    best = dense.argmax(-1)
    hint = "reshape, not view"
    expect_close(temperature_probs(view, 2.0), temperature_probs(dense, 2.0), what="probabilities of a transpose")
    expect_equal(gumbel_sample(view), best, what="tokens of a transpose, the best 50 above the rest", hint=hint)
    one_hot = (view == view.amax(-1, keepdim=True)).double()
    expect_equal(sample_token(one_hot), best, what="sample_token of one-hot rows, a transpose", hint=hint)


@pytest.mark.stage(3)
@pytest.mark.parametrize("sampler", [sample_token, gumbel_sample], ids=lambda sampler: sampler.__name__)
def test_the_generator_is_the_only_source_of_randomness(sampler):
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    flat = torch.full((64, 8), 1 / 8, dtype=torch.float64)
    with expect_rng_untouched(what=f"{sampler.__name__} with a generator"):
        first = sampler(flat, generator=torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(1)
        second, third = sampler(flat, generator=generator), sampler(flat, generator=generator)
        other = sampler(flat, generator=torch.Generator().manual_seed(2))
    expect_equal(second, first, what="the tokens of an equally seeded generator", hint="pass `generator` on")
    expect(not torch.equal(other, first), "another seed should draw other tokens, but gave the same 64")
    expect(
        not torch.equal(third, second),
        "the next call with the same generator should draw afresh, but gave the same 64 tokens",
        hint="do not re-seed it, and do not work on a copy of it",
    )


# Stage 4: cost


@pytest.mark.stage(4)
@pytest.mark.parametrize("function", [temperature_probs, sample_token, gumbel_sample], ids=lambda f: f.__name__)
def test_the_batch_and_the_vocabulary_are_processed_at_once(function, cost):
    """A python loop launches operators in proportion to what it runs over; on a GPU the launches are the cost."""
    counts = []
    for batch, vocab in ((4, 10), (64, 10), (4, 160)):
        flat = torch.full((batch, vocab), 1 / vocab)
        with cost() as spent:
            function(flat, 0.7) if function is temperature_probs else function(flat)
        counts.append(spent.operators)
    expect(counts[0] > 0, f"the work of {function.__name__} should be done by torch operators, but none was seen")
    expect(
        max(counts) <= counts[0],
        f"{function.__name__} should take as many operators for [64, 10] and [4, 160] as for [4, 10] ({counts[0]}), but took {counts[1]} and {counts[2]}",
        hint="softmax, multinomial and argmax all take a batch",
    )
