"""What any right repetition control does to the logits. Penalties are powers of two, so that results are exact in any dtype."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint, randn
from katas.repetition_control import block_repeated_ngrams, frequency_presence_penalty, repetition_penalty

INF = float("inf")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
EACH = {
    "repetition_penalty": lambda logits, tokens: repetition_penalty(logits, tokens, 2.0),
    "frequency_presence_penalty": lambda logits, tokens: frequency_presence_penalty(logits, tokens, 0.5, 0.25),
    "block_repeated_ngrams": lambda logits, tokens: block_repeated_ngrams(logits, tokens, 2),
}
each_function = pytest.mark.parametrize("name", EACH)


def doubles(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def history(*tokens):
    return torch.tensor([tokens], dtype=torch.int64)


def banned(tokens, n, vocab=6):
    """The tokens that block_repeated_ngrams sets to -inf after one row of history."""
    return (block_repeated_ngrams(torch.zeros(1, vocab), history(*tokens), n)[0] == -INF).nonzero().flatten().tolist()


def ends_in_a_repeat(tokens, n):
    """Whether the last n of these tokens also stand together somewhere before."""
    return len(tokens) > n and any(tokens[i : i + n] == tokens[-n:] for i in range(len(tokens) - n))


# Stage 1: the three rules


@pytest.mark.stage(1)
def test_the_repetition_penalty_by_example():
    """Dividing a negative logit would *raise* it: -3 / 2 = -1.5. CTRL's rule divides positive and multiplies negative ones."""
    expect_close(
        repetition_penalty(doubles(2, -1, 4, -3, 0.5), history(2, 3, 4), 2.0),
        doubles(2, -1, 2, -6, 0.25),
        what="repetition_penalty([2, -1, 4, -3, 0.5], tokens [2, 3, 4], penalty=2)",
        hint="only seen tokens change: divide positive logits by the penalty, multiply negative ones by it",
    )


@pytest.mark.stage(1)
def test_frequency_and_presence_by_example():
    """Token 0 was seen once, token 2 three times: 0.5 + 0.25 and 3 * 0.5 + 0.25 are taken away."""
    expect_close(
        frequency_presence_penalty(doubles(1, 2, 3, -4), history(2, 0, 2, 2), 0.5, 0.25),
        doubles(0.25, 2, 1.25, -4),
        what="frequency_presence_penalty([1, 2, 3, -4], tokens [2, 0, 2, 2], frequency=0.5, presence=0.25)",
        hint="subtract frequency times the count, and presence once for a token that was seen at all",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize(("n", "expected"), [(1, [0, 1, 2, 3]), (2, [3]), (3, [3]), (4, []), (5, [])])
def test_ngrams_by_example(n, expected):
    """After 0 1 2 3 1 2: the bigram 2 3 and the trigram 1 2 3 exist already, so 3 is banned; 3 1 2 never had a successor."""
    expect_equal(
        banned([0, 1, 2, 3, 1, 2], n),
        expected,
        what=f"the tokens banned after [0, 1, 2, 3, 1, 2] with n={n}",
        hint="compare the last n - 1 tokens with every earlier stretch of n - 1; what followed there is banned",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_token_is_banned_exactly_when_it_would_repeat_an_ngram(rng, n):
    """The definition, tried for every token after 30 random histories of 12 tokens out of 3."""
    for tokens in randint(rng, 0, 3, 30, 12).tolist():
        want = [token for token in range(3) if ends_in_a_repeat([*tokens, token], n)]
        expect_equal(
            banned(tokens, n, vocab=3),
            want,
            what=f"the tokens banned after {tokens} with n={n}",
            hint="try it by hand: append the token, then look for its last n tokens further left, overlapping or not",
        )


@pytest.mark.stage(1)
@each_function
def test_unseen_tokens_keep_their_logits(rng, name):
    """Only what was seen is touched; the result is logits again, not probabilities."""
    logits = randn(rng, 4, 9)
    tokens = randint(rng, 0, 5, 4, 7)  # tokens 5 to 8 are never seen
    expect_close(
        EACH[name](logits, tokens)[:, 5:],
        logits[:, 5:],
        what=f"the logits of unseen tokens after {name}",
        hint="no softmax and no normalising: change the logits of seen tokens, and nothing else",
    )


@pytest.mark.stage(1)
def test_every_successor_is_banned():
    """1 2 was followed by 3, then by 4: both are banned, and a search that stops at the first match misses one."""
    expect_equal(
        banned([1, 2, 3, 1, 2, 4, 1, 2], 3),
        [3, 4],
        what="the tokens banned after [1, 2, 3, 1, 2, 4, 1, 2] with n=3",
        hint="look at all earlier occurrences, not only at the first or the last one",
    )


# Stage 2: batches, repeated tokens, short histories, bad values


@pytest.mark.stage(2)
@each_function
@pytest.mark.parametrize(("batch", "vocab"), [(5, 5), (3, 6), (1, 4)])
def test_each_row_has_its_own_history(rng, name, batch, vocab):
    """A row in a batch gives what it gives alone; at batch == vocab an index along the wrong axis goes unnoticed."""
    logits, tokens = randn(rng, batch, vocab), randint(rng, 0, vocab, batch, 8)
    together = EACH[name](logits, tokens)
    alone = torch.cat([EACH[name](logits[i : i + 1], tokens[i : i + 1]) for i in range(batch)])
    expect_close(
        together,
        alone,
        what=f"{name} of a [{batch}, {vocab}] batch, beside its rows one by one",
        hint="what one row has said must not be held against another: gather and scatter along the last axis",
    )


@pytest.mark.stage(2)
def test_the_repetition_penalty_counts_a_token_once():
    """Seen five times or once: the same. Applied once per occurrence, 2 ** 5 would silence the token."""
    logits = doubles(8, -8, 1)
    expect_close(
        repetition_penalty(logits, history(0, 1, 0, 0, 1, 0, 0), 2.0),
        doubles(4, -16, 1),
        what="repetition_penalty([8, -8, 1], tokens [0, 1, 0, 0, 1, 0, 0], penalty=2)",
        hint="once for each distinct token: compute from the original logits, or deduplicate",
    )


@pytest.mark.stage(2)
def test_a_penalty_below_one_encourages_and_zero_stays_zero():
    """The rule is the same on either side of 1. A logit of 0 has no sign to go by, and either branch leaves it at 0."""
    expect_close(
        repetition_penalty(doubles(2, -4, 0, 3), history(0, 1, 2), 0.5),
        doubles(4, -2, 0, 3),
        what="repetition_penalty([2, -4, 0, 3], tokens [0, 1, 2], penalty=0.5)",
        hint="positive: divide; negative: multiply; whatever the penalty",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("frequency", "presence", "expected"),
    [(0.5, 0.0, (7.5, 8, 6)), (0.0, 0.5, (7.5, 8, 7.5)), (-1.0, -2.0, (11, 8, 14))],
)
def test_frequency_counts_and_presence_does_not(frequency, presence, expected):
    """Token 2 was seen four times, token 0 once. Each penalty alone; negative ones encourage."""
    expect_close(
        frequency_presence_penalty(doubles(8, 8, 8), history(2, 2, 0, 2, 2), frequency, presence),
        doubles(*expected),
        what=f"frequency_presence_penalty([8, 8, 8], tokens [2, 2, 0, 2, 2], {frequency}, {presence})",
        hint="frequency is multiplied by the count, presence by 1 if the count is not 0",
    )


@pytest.mark.stage(2)
@each_function
def test_an_empty_history_changes_nothing(rng, name):
    """The first step of generation without a prompt: tokens of shape [batch, 0]."""
    logits = randn(rng, 3, 5)
    expect_close(
        EACH[name](logits, torch.zeros(3, 0, dtype=torch.int64)),
        logits,
        what=f"{name} with tokens of shape [3, 0]",
        hint="nothing was seen: a copy of the logits",
    )


@pytest.mark.stage(2)
def test_neutral_penalties_change_nothing(rng):
    """penalty 1, frequency 0 and presence 0 are how these are switched off."""
    logits, tokens = randn(rng, 3, 5), randint(rng, 0, 5, 3, 4)
    expect_close(repetition_penalty(logits, tokens, 1.0), logits, what="repetition_penalty(penalty=1)")
    expect_close(frequency_presence_penalty(logits, tokens, 0.0, 0.0), logits, what="frequency_presence_penalty(0, 0)")


@pytest.mark.stage(2)
@pytest.mark.parametrize(("length", "n"), [(1, 2), (1, 3), (2, 3), (2, 4), (2, 50)])
def test_a_history_without_an_ngram_bans_nothing(length, n):
    """Shorter than n: there is no n-gram yet to repeat. Equal tokens, so that any false match would show."""
    expect_equal(
        banned([4] * length, n),
        [],
        what=f"the tokens banned after {[4] * length} with n={n}",
        hint="fewer than n tokens: return a copy of the logits",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("tokens", "n", "expected"),
    [([5, 5], 2, [5]), ([5, 5, 5], 3, [5]), ([1, 2, 1, 2], 3, [1]), ([1, 2, 1], 2, [2]), ([3, 3, 3, 3], 4, [3])],
)
def test_the_last_window_counts_although_it_overlaps(tokens, n, expected):
    """The most recent n-gram shares tokens with the one about to be made. Loops like "a a a" are caught only so."""
    expect_equal(
        banned(tokens, n),
        expected,
        what=f"the tokens banned after {tokens} with n={n}",
        hint="there are length - n + 1 windows: the last one ends in the last token",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(("tokens", "expected"), [([0, 1, 4, 2, 1, 4], [2]), ([0, 0, 1, 4, 2, 1, 4], [2])])
def test_windows_start_at_every_token(tokens, expected):
    """Not at every n-th one: whether an n-gram is found must not depend on where it stands."""
    expect_equal(
        banned(tokens, 3), expected, what=f"the tokens banned after {tokens} with n=3", hint="windows with stride 1"
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("tokens", [[1, 3, 2, 3, 1], [2, 3, 1, 3, 1]], ids=str)
def test_a_ban_is_not_undone(tokens):
    """With n = 2, 1 3 bans 3. The bigram 2 3 does not match, and must not write "allowed" over that ban."""
    expect_equal(
        banned(tokens, 2),
        [3],
        what=f"the tokens banned after {tokens} with n=2",
        hint="scattering a mask of matches lets one window overwrite another: add them up, or write only the matches",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_an_error(penalty):
    """0 divides by zero, a negative penalty turns signs around, and NaN fails every comparison."""
    with expect_raises(ValueError, what=f"repetition_penalty(penalty={penalty})", hint="`not penalty > 0`"):
        repetition_penalty(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), penalty)


@pytest.mark.stage(2)
@pytest.mark.parametrize("n", [0, -1])
def test_n_below_one_is_an_error(n):
    """n = 0 means 'off' in some libraries and nothing here: there is no 0-gram to repeat."""
    with expect_raises(ValueError, what=f"block_repeated_ngrams(n={n})"):
        block_repeated_ngrams(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), n)


# Stage 3: numerics and dtypes


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
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


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_counts_are_exact_in_half_precision(dtype):
    """In bfloat16 256 + 1 is 256, in float16 2048 + 1 is 2048: a running count in those dtypes stops there."""
    tokens = torch.zeros(1, 5120, dtype=torch.int64)
    expect_equal(
        frequency_presence_penalty(torch.tensor([[64.0, 1.0]], dtype=dtype), tokens, 1 / 128, 0.0),
        torch.tensor([[24.0, 1.0]], dtype=dtype),
        what=f"frequency_presence_penalty of {dtype} logits [64, 1], token 0 seen 5120 times, frequency=1/128",
        hint="count in integers or float32, and convert only the result",
    )


@pytest.mark.stage(3)
@each_function
def test_banned_tokens_stay_banned(name):
    """A logit of -inf stays -inf, seen or not, and no NaN appears: 0 * inf and inf - inf are near."""
    logits = doubles(-INF, 2, -INF, -1)
    result = EACH[name](logits, history(0, 1, 3, 0))
    want = {
        "repetition_penalty": doubles(-INF, 1, -INF, -2),
        "frequency_presence_penalty": doubles(-INF, 1.25, -INF, -1.75),
        "block_repeated_ngrams": doubles(-INF, -INF, -INF, -1),
    }[name]
    expect_equal(
        result,
        want,
        what=f"{name}([-inf, 2, -inf, -1], tokens [0, 1, 3, 0])",
        hint="ban with masked_fill or an assignment; a mask times -inf is NaN where the mask is 0",
    )


@pytest.mark.stage(3)
@each_function
def test_the_arguments_are_not_modified(rng, name):
    """The caller keeps the raw logits for log-probabilities, and goes on appending to the tokens."""
    logits, tokens = randn(rng, 3, 5), randint(rng, 0, 5, 3, 6)
    with expect_unchanged(logits, tokens, what="an argument"):
        EACH[name](logits, tokens).fill_(0.0)
        EACH[name](logits, tokens[:, :0]).fill_(0.0)  # a new tensor, also when nothing is to be done
        EACH[name](logits, tokens[:, :1]).fill_(0.0)


@pytest.mark.stage(3)
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


# Stage 4: cost


@pytest.mark.stage(4)
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
