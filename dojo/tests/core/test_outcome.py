"""When a run solves its kata, and when an exception comes from an unwritten stub."""

from pathlib import Path

import pytest
import torch

from dojo.core.outcome import (
    MAX_MESSAGE_CHARS,
    Diagnosis,
    Outcome,
    is_solved,
    is_unwritten,
    sentences_of,
    text_of,
)


@pytest.mark.parametrize(
    ("passed", "counted", "complete", "solved"),
    [
        (3, 3, True, True),
        (2, 3, True, False),
        (3, 3, False, False),  # a few chosen tests prove nothing
        (0, 0, True, False),  # every test was skipped
        (3, 3, 1, True),  # SQLite has no booleans
    ],
)
def test_a_kata_is_solved_when_every_test_that_counts_has_passed(passed, counted, complete, solved):
    """In a complete run, with at least one test."""
    assert is_solved(passed, counted, complete) is solved


def test_several_mistakes_are_one_story():
    """Two sentences that begin with "your result" would contradict each other."""
    first = Diagnosis("squares", "x is multiplied by itself", False)
    second = Diagnosis("no check", "heads = 0 is accepted; raise ValueError", False)
    assert sentences_of([first, second]) == [
        "Part of your result is exactly what you get when x is multiplied by itself",
        "Also, heads = 0 is accepted; raise ValueError",
    ]
    assert sentences_of([]) == []


def unwritten():
    raise NotImplementedError("write me")


def test_only_a_raise_statement_of_the_kata_is_an_unwritten_stub():
    """torch raises the same class: from C++ where an operator does not know a dtype, and for a module without `forward`."""
    here = Path(__file__)
    with pytest.raises(NotImplementedError) as stub:
        unwritten()
    with pytest.raises(NotImplementedError) as operator:
        torch.ones(2, dtype=torch.float8_e4m3fn).sort()
    with pytest.raises(NotImplementedError) as module:
        torch.nn.Module()()
    assert is_unwritten(stub.value, here)
    assert is_unwritten(stub.value, here.parent)
    assert not is_unwritten(stub.value, here.parent.parent)
    assert not is_unwritten(operator.value, here)
    assert not is_unwritten(module.value, here)
    assert not is_unwritten(ValueError(), here)
    assert not is_unwritten(None, here)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("two\nlines\tand 日本 ü", "two\nlines\tand 日本 ü"),
        ("a\ud800b\udc80", "a\\ud800b\\udc80"),
        ("a\r\nb\x1b[2J\x00\x7f\x9b", "a\nb\\x1b[2J\\x00\\x7f\\x9b"),
        ("x" * 50_000_000, "x" * MAX_MESSAGE_CHARS + " ..."),
    ],
)
def test_a_message_can_be_shown_sent_and_stored(message, kept):
    """Whoever makes the outcome."""
    assert Outcome("test_a", "tiny", 1, "failed", message).message == kept
    assert text_of(ValueError(message)) == kept
