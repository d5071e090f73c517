"""The checks of katas' tests: a right answer passes, a wrong one gives a sentence."""

import math

import pytest
import torch

from dojo import testing
from dojo.testing import (
    Wrong,
    draw,
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
    randn,
)
from dojo.testing.chi_square import fit_p_value

INF, NAN = math.inf, math.nan


def said(check, *arguments, **keywords):
    """The sentence with which a check fails."""
    with pytest.raises(Wrong) as error:
        check(*arguments, **keywords)
    return str(error.value)


def t(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


# expect, expect_equal


def test_expect_says_its_sentence_and_the_hint():
    """The author's words, and nothing else."""
    expect(True, "never said")
    assert said(expect, False, "it should be so", hint="try this") == "it should be so\nhint: try this"
    assert said(expect, torch.tensor(False), "it should be so") == "it should be so"


def test_equal_values_pass():
    """Plain values by ==, tensors exactly; NaN where NaN is expected would be a wrong answer that looks right."""
    expect_equal(3, 3)
    expect_equal([1, (2,)], [1, (2,)])
    expect_equal(torch.float16, torch.float16)
    expect_equal(t(1, INF), t(1, INF))


def test_unequal_values_name_what_both_and_the_hint():
    """Enough to act on without opening the test."""
    assert said(expect_equal, 5, 4, what="the number kept", hint="off by one") == (
        "the number kept should be 4, but is 5\nhint: off by one"
    )
    assert "should be [1, 2], but is [2, 1]" in said(expect_equal, [2, 1], [1, 2])


def test_a_tensor_is_no_plain_value():
    """`should be 3, but is 3` would help nobody."""
    sentence = said(expect_equal, torch.tensor(3), 3)
    assert "should be 3, but is" in sentence
    assert "tensor" in sentence


def test_a_long_value_is_cut_short():
    """A screen of numbers is no sentence."""
    assert len(said(expect_equal, list(range(1000)), [])) < 200
    assert "shape [50, 50]" in said(expect_equal, torch.zeros(50, 50), 0)


def test_equal_tensors_are_equal_to_the_last_bit():
    """For copies and ids there is no tolerance."""
    assert "should be 1, but is 1" in said(expect_equal, t(1 + 1e-15), t(1.0))
    assert "dtype" in said(expect_equal, t(1), torch.tensor([1.0], dtype=torch.float32))


# expect_close


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rounding_is_close_and_a_percent_is_not(dtype):
    """torch's own tolerances for the dtype, unless the test says why not."""
    right = torch.linspace(1, 2, 7).to(dtype)
    expect_close(right * (1 + torch.finfo(dtype).eps / 2), right)
    assert "should be" in said(expect_close, right * 1.03, right)


def test_the_first_wrong_element_is_named_with_its_place():
    """A place, the value there, what it should be, and how much else is wrong."""
    wrong = torch.arange(6.0).reshape(2, 3)
    wrong[1, 0] = 9
    sentence = said(expect_close, wrong, torch.arange(6.0).reshape(2, 3), what="f(x)", hint="look there")
    first, expected, got, hint = sentence.splitlines()
    assert first == "f(x) at [1, 0] should be 3, but is 9 (1 of 6 values differ)"
    assert " ".join(expected.split()) == "expected [[0, 1, 2], [3, 4, 5]]"
    assert " ".join(got.split()) == "got [[0, 1, 2], [9, 4, 5]]"
    assert hint == "hint: look there"


def test_a_large_tensor_is_not_printed():
    """The first difference is enough."""
    sentence = said(expect_close, torch.ones(100, 100), torch.zeros(100, 100))
    assert sentence == "the result at [0, 0] should be 0, but is 1 (10000 of 10000 values differ)"


def test_a_scalar_has_no_place():
    """`at []` is noise."""
    assert said(expect_close, torch.tensor(2.0), torch.tensor(1.0), what="the loss") == "the loss should be 1, but is 2"


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        (torch.zeros(3, 2), "should have shape [2, 3], but has [3, 2]"),
        (torch.zeros(2, 3, dtype=torch.float64), "should keep dtype torch.float32, but is torch.float64"),
        (None, "should be a tensor of shape [2, 3], but is None"),
        ([[0.0] * 3] * 2, "should be a tensor of shape [2, 3], but is [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]"),
        (torch.full((2, 3), NAN), "should be 0, but is nan"),
        (torch.full((2, 3), INF), "should be 0, but is inf"),
    ],
    ids=["shape", "dtype", "None", "list", "nan", "inf"],
)
def test_what_is_not_even_alike_is_named(actual, words):
    """Shape and dtype before values: a silent broadcast is the commonest mistake of all."""
    sentence = said(expect_close, actual, torch.zeros(2, 3), what="f(x)", hint="h")
    assert words in sentence
    assert sentence.startswith("f(x)")
    assert sentence.endswith("hint: h")


def test_nan_is_never_right():
    """Not even where the expected value is NaN: no kata promises one."""
    assert "is NaN" in said(expect_close, t(NAN), t(NAN))


def test_looser_tolerances_are_the_authors_choice():
    """Both or neither, as with torch."""
    expect_close(t(1.01), t(1.0), rtol=0.02, atol=0.0)
    assert "should be 1, but is 1.05" in said(expect_close, t(1.05), t(1.0), rtol=0.02, atol=0.0)


def test_gradients_do_not_matter_to_a_comparison():
    """Outputs under test often need a gradient."""
    expect_close(t(1.0).requires_grad_(), t(1.0))


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(2, 0)], ids=["row", "matrix"])
def test_empty_tensors_are_close(empty):
    """The batch of size 0."""
    expect_close(empty.clone(), empty)
    assert "shape" in said(expect_close, torch.zeros(1), empty)


def test_integers_and_booleans_are_compared_exactly():
    """Token ids have no tolerance."""
    expect_close(torch.tensor([1, 2]), torch.tensor([1, 2]))
    assert "at [1] should be 2, but is 3" in said(expect_close, torch.tensor([1, 3]), torch.tensor([1, 2]))
    assert "should be True, but is False" in said(expect_close, torch.tensor([False]), torch.tensor([True]))


def test_complex_numbers_are_compared():
    """Rotary embeddings may be written with them."""
    right = torch.tensor([1 + 2j])
    expect_close(right.clone(), right)
    assert "should be (1+2j), but is (1-2j)" in said(expect_close, right.conj(), right)


# expect_distribution


PROBS = t(0.5, 0.25, 0.125, 0.125, 0.0)


def sample(probs, n, seed=0):
    return torch.multinomial(probs, n, replacement=True, generator=torch.Generator().manual_seed(seed))


def test_right_draws_pass():
    """In any shape and integer dtype."""
    expect_distribution(sample(PROBS, 4000), PROBS)
    expect_distribution(sample(PROBS, 4000).reshape(40, 100).int(), PROBS)


def test_biased_draws_fail_with_the_category_and_both_shares():
    """A sampler that is right about the support and wrong about the odds."""
    sentence = said(expect_distribution, sample(t(0.4, 0.35, 0.125, 0.125, 0), 4000), PROBS, what="tokens", hint="h")
    assert "tokens should be 1 with probability 0.2500, but were so 0.3" in sentence
    assert "chi-square over 4000 draws" in sentence
    assert sentence.endswith("hint: h")


def test_a_single_impossible_draw_fails():
    """Exact support needs no statistics."""
    draws = sample(PROBS, 4000)
    draws[17] = 4
    sentence = said(expect_distribution, draws, PROBS, what="tokens")
    assert sentence == "tokens should never be 4 (its probability is 0), but were 1 of 4000 times"


@pytest.mark.parametrize("outside", [-1, 5, 10**12])
def test_a_draw_out_of_range_fails(outside):
    """Also a huge one, which must not ask for a terabyte of counters."""
    draws = sample(PROBS, 100)
    draws[3] = outside
    assert "should lie in [0, 5), but reach from" in said(expect_distribution, draws, PROBS)


@pytest.mark.parametrize(
    "draws", [torch.rand(10), torch.rand(10) > 0.5, [0, 1], None], ids=["float", "bool", "list", "None"]
)
def test_draws_that_are_no_integers_fail(draws):
    """Probabilities instead of tokens."""
    assert "should be an integer tensor" in said(expect_distribution, draws, PROBS)


def test_no_draws_are_no_evidence():
    """A sampler that returns nothing must not pass for a right one."""
    assert "empty" in said(expect_distribution, torch.zeros(0, dtype=torch.int64), PROBS)


def test_a_certain_outcome_passes_and_anything_else_fails():
    """Greedy decoding is a distribution too."""
    expect_distribution(torch.ones(50, dtype=torch.int64), t(0, 1))
    assert "should never be 0" in said(expect_distribution, torch.zeros(50, dtype=torch.int64), t(0, 1))


@pytest.mark.parametrize(
    "probs",
    [t(0.2, 0.3, 0.5), torch.full((50,), 0.02, dtype=torch.float64), t(0.6, 0.39, 0.008, 0.0015, 0.0005)],
    ids=["three", "fifty", "rare ones"],
)
def test_false_alarms_are_as_rare_as_promised(probs):
    """At a level of 1 in 100, 2000 right samplers: 20 alarms expected, more than 40 has probability 1e-5."""
    counts = torch.distributions.Multinomial(2000, probs)
    torch.manual_seed(0)
    alarms = sum(fit_p_value(row, probs) < 0.01 for row in counts.sample((2000,)))
    assert 4 <= alarms <= 40


def test_a_rare_token_that_turns_up_is_no_alarm():
    """One draw of a token with probability 1e-6 happens to one right sampler in 250; it proves nothing."""
    probs = t(0.6, 0.399999, 1e-6)
    draws = torch.cat([sample(t(0.6, 0.4), 3999), torch.tensor([2])])
    expect_distribution(draws, probs)


def test_the_level_is_the_callers():
    """Between 0.001 and 1e-6."""
    draws = torch.tensor([0] * 540 + [1] * 460)  # p = 0.011
    expect_distribution(draws, t(0.5, 0.5))
    assert "p = 1.1e-02" in said(expect_distribution, draws, t(0.5, 0.5), false_alarm=0.05)


@pytest.mark.parametrize("counts", [[100, 200, 300], [100, 100, 100, 130], [50, 60, 70, 80, 100]])
def test_chi_square_is_scipys(counts):
    """Where nothing is rare it is Pearson's test."""
    stats = pytest.importorskip("scipy.stats")
    probs = torch.linspace(1, 2, len(counts), dtype=torch.float64)
    probs = probs / probs.sum()
    want = stats.chisquare(counts, (probs * sum(counts)).tolist()).pvalue
    assert fit_p_value(t(*counts), probs) == pytest.approx(want, rel=1e-9)


def test_one_category_is_no_test():
    """Nothing can be told from a sampler that has no choice."""
    assert fit_p_value(t(100.0), t(1.0)) == 1.0


# The context managers


def test_the_expected_exception_passes():
    """Any of several, and their subclasses."""
    with expect_raises(ValueError):
        raise UnicodeError
    with expect_raises((TypeError, KeyError)):
        raise KeyError("x")


def test_no_exception_or_another_one_is_wrong():
    """With the name that was expected and what came."""
    with (
        pytest.raises(Wrong, match=r"f\(-1\) should raise ValueError, but returned normally\nhint: check x"),
        expect_raises(ValueError, what="f(-1)", hint="check x"),
    ):
        pass
    with (
        pytest.raises(Wrong, match=r"this call should raise ValueError or KeyError, but raised TypeError: no"),
        expect_raises((ValueError, KeyError)),
    ):
        raise TypeError("no")


def test_an_unwritten_function_stays_unwritten():
    """The plugin reads the stub's error as 'not started'; it must arrive."""
    with pytest.raises(NotImplementedError, match="write me"), expect_raises(ValueError):
        raise NotImplementedError("write me")


def test_ctrl_c_is_not_swallowed():
    """Nor called a wrong answer."""
    with pytest.raises(KeyboardInterrupt), expect_raises(ValueError):
        raise KeyboardInterrupt


def test_an_untouched_input_is_unchanged():
    """NaN and infinities are equal to themselves here."""
    x, y = t(1, NAN, INF, -INF), torch.arange(3)
    with expect_unchanged(x, y):
        x.exp()


@pytest.mark.parametrize("value", [5.0, NAN, INF])
def test_a_changed_input_is_found(value):
    """Also a change to NaN."""
    x = t(1, 2)
    with (
        pytest.raises(Wrong, match="the logits should not be modified") as error,
        expect_unchanged(x, what="the logits"),
    ):
        x[1] = value
    assert "hint: work out of place" in str(error.value)


def test_a_change_from_nan_is_found():
    """`nan_to_num_` on the caller's tensor."""
    x = t(1, NAN)
    with pytest.raises(Wrong), expect_unchanged(x):
        x.nan_to_num_()


def test_a_resized_input_is_found():
    """`unsqueeze_` changes the caller's shape."""
    x = t(1, 2)
    with pytest.raises(Wrong), expect_unchanged(x):
        x.unsqueeze_(0)


def test_parameters_can_be_watched():
    """Leaves that need a gradient."""
    x = t(1, 2).requires_grad_()
    with expect_unchanged(x):
        (x * 2).sum().backward()


def test_an_exception_in_the_block_is_the_exception():
    """What went wrong first is what the learner reads."""
    x = t(1.0)
    with pytest.raises(IndexError), expect_unchanged(x), expect_rng_untouched():
        x.add_(1)[7]


def test_a_draw_from_the_global_stream_is_found():
    """A generator that is ignored leaves its trace there."""
    with expect_rng_untouched():
        torch.rand(2, generator=torch.Generator().manual_seed(1))
    with (
        pytest.raises(Wrong, match=r"f should leave the global random stream alone, but drew from it\nhint: pass `gen"),
        expect_rng_untouched(what="f"),
    ):
        torch.rand(2)
    with pytest.raises(Wrong), expect_rng_untouched():
        torch.manual_seed(5)


# Inputs


def test_every_dtype_sees_the_same_numbers():
    """So a verdict in float16 is about float16, not about other inputs."""
    wide, narrow = (randn(torch.Generator().manual_seed(3), 4, dtype=d) for d in (torch.float64, torch.float16))
    assert torch.equal(wide.half(), narrow)
    assert narrow.dtype == torch.float16


def test_whole_numbers_lie_in_their_interval():
    """The upper end is not among them."""
    drawn = randint(torch.Generator().manual_seed(0), 2, 5, 100)
    assert set(drawn.tolist()) == {2, 3, 4}
    assert drawn.dtype == torch.int64


def test_draw_calls_until_it_has_enough():
    """Samplers return as many as they like per call."""
    calls = []
    drawn = draw(lambda: calls.append(1) or torch.zeros(3, 2), at_least=13)
    assert drawn.shape == (18,)
    assert len(calls) == 3


def test_only_checks_and_inputs_are_offered():
    """The names that an author may rely on exist."""
    assert all(hasattr(testing, name) for name in testing.__all__)
