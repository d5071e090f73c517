"""The checks of katas' tests: a right answer passes, a wrong one gives a sentence."""

import math

import pytest
import torch

from dojo import testing
from dojo.testing import (
    Wrong,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
)
from dojo.testing.checks import TOLERANCES

INF, NAN = math.inf, math.nan


def message_of(check, *arguments, **keywords):
    """The message with which a check fails."""
    with pytest.raises(Wrong) as error:
        check(*arguments, **keywords)
    return str(error.value)


def t(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


# expect, expect_equal


def test_expect_fails_with_its_sentence_and_the_hint():
    """Nothing else is in the message."""
    expect(True, "not shown")
    assert message_of(expect, False, "it should be so", hint="try this") == "it should be so\nhint: try this"
    assert message_of(expect, torch.tensor(False), "it should be so") == "it should be so"


def test_equal_values_pass():
    """Plain values by ==, tensors exactly."""
    expect_equal(3, 3)
    expect_equal([1, (2,)], [1, (2,)])
    expect_equal(torch.float16, torch.float16)
    expect_equal(t(1, INF), t(1, INF))


def test_unequal_values_name_what_both_and_the_hint():
    """The message is enough without opening the test."""
    assert message_of(expect_equal, 5, 4, what="the number kept", hint="off by one") == (
        "the number kept should be 4, but is 5\nhint: off by one"
    )
    assert "should be [1, 2], but is [2, 1]" in message_of(expect_equal, [2, 1], [1, 2])


def test_a_tensor_is_no_plain_value():
    """Otherwise the message would be `should be 3, but is 3`."""
    sentence = message_of(expect_equal, torch.tensor(3), 3)
    assert "should be 3, but is" in sentence
    assert "tensor" in sentence


def test_a_long_value_is_cut_short():
    """The message stays readable."""
    assert len(message_of(expect_equal, list(range(1000)), [])) < 200
    assert "shape [50, 50]" in message_of(expect_equal, torch.zeros(50, 50), 0)


def test_equal_tensors_are_equal_to_the_last_bit():
    """expect_equal has no tolerance."""
    assert "should be 1, but is 1" in message_of(expect_equal, t(1 + 1e-15), t(1.0))
    assert "dtype" in message_of(expect_equal, t(1), torch.tensor([1.0], dtype=torch.float32))


# expect_close


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rounding_is_close_and_a_percent_is_not(dtype):
    """The default tolerances are torch's for the dtype."""
    right = torch.linspace(1, 2, 7).to(dtype)
    expect_close(right * (1 + torch.finfo(dtype).eps / 2), right)
    assert "should be" in message_of(expect_close, right * 1.03, right)


def test_the_first_wrong_element_is_named_with_its_place():
    """Its index, the expected and the actual value, and how many values differ."""
    wrong = torch.arange(6.0).reshape(2, 3)
    wrong[1, 0] = 9
    sentence = message_of(expect_close, wrong, torch.arange(6.0).reshape(2, 3), what="f(x)", hint="look there")
    first, expected, got, hint = sentence.splitlines()
    assert first == "f(x) at [1, 0] should be 3, but is 9 (1 of 6 values differ)"
    assert " ".join(expected.split()) == "expected [[0, 1, 2], [3, 4, 5]]"
    assert " ".join(got.split()) == "got [[0, 1, 2], [9, 4, 5]]"
    assert hint == "hint: look there"


def test_a_large_tensor_is_not_printed():
    """The first difference is enough."""
    sentence = message_of(expect_close, torch.ones(100, 100), torch.zeros(100, 100))
    assert sentence == "the result at [0, 0] should be 0, but is 1 (10000 of 10000 values differ)"


def test_a_scalar_has_no_place():
    """The message has no `at []`."""
    assert (
        message_of(expect_close, torch.tensor(2.0), torch.tensor(1.0), what="the loss")
        == "the loss should be 1, but is 2"
    )


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
def test_another_kind_shape_or_dtype_is_named(actual, words):
    """Shape and dtype are compared before values, because a silent broadcast is the most frequent mistake."""
    sentence = message_of(expect_close, actual, torch.zeros(2, 3), what="f(x)", hint="h")
    assert words in sentence
    assert sentence.startswith("f(x)")
    assert sentence.endswith("hint: h")


def test_nan_is_never_right():
    """Not even if the expected value is NaN: no kata promises NaN."""
    assert "is NaN" in message_of(expect_close, t(NAN), t(NAN))


def test_looser_tolerances_are_the_authors_choice():
    """Both are given or neither, as with torch."""
    expect_close(t(1.01), t(1.0), rtol=0.02, atol=0.0)
    assert "should be 1, but is 1.05" in message_of(expect_close, t(1.05), t(1.0), rtol=0.02, atol=0.0)


def test_gradients_do_not_matter_to_a_comparison():
    """Outputs under test often require a gradient."""
    expect_close(t(1.0).requires_grad_(), t(1.0))


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(2, 0)], ids=["row", "matrix"])
def test_empty_tensors_are_close(empty):
    """The batch of size 0."""
    expect_close(empty.clone(), empty)
    assert "shape" in message_of(expect_close, torch.zeros(1), empty)


def test_integers_and_booleans_are_compared_exactly():
    """Token ids have no tolerance."""
    expect_close(torch.tensor([1, 2]), torch.tensor([1, 2]))
    assert "at [1] should be 2, but is 3" in message_of(expect_close, torch.tensor([1, 3]), torch.tensor([1, 2]))
    assert "should be True, but is False" in message_of(expect_close, torch.tensor([False]), torch.tensor([True]))


def test_complex_numbers_are_compared():
    """Rotary embeddings may be written with them."""
    right = torch.tensor([1 + 2j])
    expect_close(right.clone(), right)
    assert "should be (1+2j), but is (1-2j)" in message_of(expect_close, right.conj(), right)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_verdict_is_torchs(dtype):
    """At a tenth below and above its default tolerances, and for differences of one, infinities and NaN."""
    rtol, atol = TOLERANCES[dtype]
    one = torch.ones(3, dtype=torch.float64)
    for other in (one + 0.9 * (rtol + atol), one + 1.1 * (rtol + atol), one - 1, one * INF, one * NAN):
        if not (dtype.is_floating_point or dtype.is_complex):
            other = other.nan_to_num(0, 2, 2)
        for pair in ((other, one), (other, other), (one * 0, one * 0 + 0.9 * atol), (one * 0, one * 0 + 1.2 * atol)):
            actual, expected = (tensor.to(dtype) for tensor in pair)
            assert closes(expect_close, actual, expected) == closes(torch.testing.assert_close, actual, expected)


@pytest.mark.parametrize(
    ("actual", "right"),
    [(torch.eye(2).to_sparse(), True), (2 * torch.eye(2).to_sparse(), False), (torch.eye(2), False)],
    ids=["sparse", "twice as much", "dense"],
)
def test_what_has_no_plain_elements_is_left_to_torch(actual, right):
    assert closes(expect_close, actual, torch.eye(2).to_sparse()) == right
    assert not closes(expect_close, torch.eye(2, device="meta"), torch.eye(2))


def closes(check, actual, expected):
    """Whether `check` lets `actual` pass for `expected`."""
    try:
        check(actual, expected)
    except AssertionError:
        return False
    return True


# The context managers


def test_the_expected_exception_passes():
    """One of several classes, or of their subclasses."""
    with expect_raises(ValueError):
        raise UnicodeError
    with expect_raises((TypeError, KeyError)):
        raise KeyError("x")


def test_no_exception_or_another_one_is_wrong():
    """The message has the expected class and the exception that was raised."""
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


def test_the_error_of_an_unwritten_stub_is_passed_on():
    """The plugin turns it into the verdict "not started"."""
    with pytest.raises(NotImplementedError, match="write me"), expect_raises(ValueError):
        raise NotImplementedError("write me")


def test_ctrl_c_is_not_swallowed():
    """KeyboardInterrupt is no wrong answer."""
    with pytest.raises(KeyboardInterrupt), expect_raises(ValueError):
        raise KeyboardInterrupt


def test_an_untouched_input_is_unchanged():
    """A NaN that stays NaN is unchanged."""
    x, y = t(1, NAN, INF, -INF), torch.arange(3)
    with expect_unchanged(x, y):
        x.exp()


@pytest.mark.parametrize("value", [5.0, NAN, INF])
def test_a_changed_input_fails(value):
    """Also a change to NaN."""
    x = t(1, 2)
    with (
        pytest.raises(Wrong, match="the logits should not be modified") as error,
        expect_unchanged(x, what="the logits"),
    ):
        x[1] = value
    assert "hint: work out of place" in str(error.value)


def test_a_change_from_nan_fails():
    """`nan_to_num_` on the caller's tensor."""
    x = t(1, NAN)
    with pytest.raises(Wrong), expect_unchanged(x):
        x.nan_to_num_()


def test_a_resized_input_fails():
    """`unsqueeze_` changes the caller's shape."""
    x = t(1, 2)
    with pytest.raises(Wrong), expect_unchanged(x):
        x.unsqueeze_(0)


def test_parameters_can_be_checked():
    """They require a gradient."""
    x = t(1, 2).requires_grad_()
    with expect_unchanged(x):
        (x * 2).sum().backward()


def test_an_exception_in_the_block_is_the_exception():
    """The check does not replace it."""
    x = t(1.0)
    with pytest.raises(IndexError), expect_unchanged(x), expect_rng_untouched():
        x.add_(1)[7]


def test_an_exception_gets_a_note_of_what_was_called():
    """It stays the same exception; a wrong answer and an unwritten stub say enough."""
    with pytest.raises(IndexError) as error, called_for("T=0.001", hint="widen"):
        t(1.0)[7]
    assert error.value.__notes__ == ["It was called for T=0.001", "hint: widen"]
    for kind in (Wrong, NotImplementedError):
        with pytest.raises(kind) as other, called_for("T=0.001"):
            raise kind("as it is")
        assert not hasattr(other.value, "__notes__")


def test_a_draw_from_the_global_stream_fails():
    """This catches a `generator` argument that is ignored."""
    with expect_rng_untouched():
        torch.rand(2, generator=torch.Generator().manual_seed(1))
    with (
        pytest.raises(Wrong, match=r"f should leave the global random stream alone, but drew from it\nhint: pass `gen"),
        expect_rng_untouched(what="f"),
    ):
        torch.rand(2)
    with pytest.raises(Wrong), expect_rng_untouched():
        torch.manual_seed(5)


def test_every_exported_name_exists():
    """Authors may import all names in `__all__`."""
    assert all(hasattr(testing, name) for name in testing.__all__)
