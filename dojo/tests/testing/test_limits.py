"""The limits on what is counted: they hold from above and from below."""

import pytest
import torch

from dojo.testing import Wrong, expect_flat_operators, expect_operators, expect_traffic, measure


def message_of(check, *arguments, **keywords):
    """The message with which a check fails."""
    with pytest.raises(Wrong) as error:
        check(*arguments, **keywords)
    return str(error.value)


def spent_by(run):
    with measure() as spent:
        run()
    return spent


def rows(count):
    return [torch.ones(count, 3)]


def loop(x):
    return torch.stack([row * 2 for row in x])


def with_lists(x):
    return torch.tensor([[2 * value for value in row] for row in x.numpy()])


# expect_traffic


def test_traffic_within_its_limits_passes():
    """Reading and writing x once is twice its bytes."""
    x = torch.ones(100)
    expect_traffic(spent_by(lambda: x * 2), x, 2, what="f", of="x")
    expect_traffic(spent_by(lambda: None), x, 2, what="f", of="x", outside_torch=True)


def test_too_much_traffic_names_the_commonest_operators():
    """They are where to look."""
    x = torch.ones(100)
    spent = spent_by(lambda: [x * 2, x * 3, x + 1])
    assert message_of(expect_traffic, spent, x, 5, what="f", of="x", hint="once") == (
        "f should move at most 5x the bytes of x, but moved 6x (aten.mul 2, aten.add 1)\nhint: once"
    )


def test_work_that_is_not_seen_is_not_little_work():
    """Without a lower bound numpy would pass every limit."""
    sentence = message_of(expect_traffic, spent_by(lambda: None), torch.ones(9), 5, what="f", of="x")
    assert sentence.startswith("torch operators should do the work of f, but they moved only 0.00x the bytes of x\n")


# expect_operators


def test_operators_are_limited_on_both_sides():
    """One operator: at most one, at least one."""
    spent = spent_by(lambda: torch.ones(3) * 2)
    expect_operators(spent, 2, what="f", least=2)
    assert message_of(expect_operators, spent, 1, what="f", hint="at once") == (
        "f should take at most 1 operators, but took 2 (aten.ones 1, aten.mul 1)\nhint: at once"
    )
    assert "the work of f, but only 2 were seen" in message_of(expect_operators, spent, 9, what="f", least=3)


# expect_flat_operators


def test_work_on_all_rows_at_once_passes():
    """As many operators for 64 rows as for 4; a few more where they are allowed."""
    expect_flat_operators(lambda x: x * 2, rows, (4, 64), what="f", hint="")
    expect_flat_operators(lambda x: (x * 2, loop(x[:5])), rows, (4, 64), what="f", hint="", slack=1)
    expect_flat_operators(loop, rows, (4, 8), what="f", hint="", times=2)


def test_a_loop_over_rows_fails():
    """With both sizes and both counts."""
    assert message_of(expect_flat_operators, loop, rows, (4, 64), what="f", hint="all at once") == (
        "f should take about as many operators at size 64 as at size 4 (5), but took 65\nhint: all at once"
    )


def test_a_loop_outside_torch_fails_unless_it_is_allowed():
    """Its operators do not grow either, because there are none."""
    sentence = message_of(expect_flat_operators, with_lists, rows, (4, 64), what="f", hint="")
    assert sentence.startswith("torch operators should do the work of f, but moved ")
    expect_flat_operators(with_lists, rows, (4, 64), what="f", hint="", outside_torch=True)


def test_every_size_is_checked():
    """Growth in the last of three sizes is growth."""
    sizes = [(4, 3), (8, 3), (4, 30)]
    sentence = message_of(
        expect_flat_operators, lambda x: loop(x.T), lambda s: [torch.ones(s)], sizes, what="f", hint=""
    )
    assert "at size (4, 30) as at size (4, 3) (4), but took 31" in sentence
