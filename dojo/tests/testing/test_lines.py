"""The lines of a kata that run are counted, and nothing else."""

import sys
from types import SimpleNamespace

import pytest

from dojo.testing import Wrong
from dojo.testing.lines import expect_lines

SOURCE = """
def loop(n):
    total = 0
    for i in range(n):
        total += i
    return total


def stubborn():
    while True:
        try:
            pass
        except Exception:
            pass
"""


@pytest.fixture
def kata(tmp_path):
    file = str(tmp_path / "kata.py")
    names = {}
    exec(compile(SOURCE, file, "exec"), names)
    return SimpleNamespace(__file__=file, **names)


def test_the_result_is_passed_on_while_the_lines_suffice(kata):
    """One line before the loop, two a round and one that finds its end, one after it."""
    assert expect_lines(lambda: kata.loop(10), kata, 23, what="loop(10)") == 45
    with pytest.raises(Wrong, match=r"loop\(10\) should execute at most 22 lines, but needs more\nhint: fewer"):
        expect_lines(lambda: kata.loop(10), kata, 22, what="loop(10)", hint="fewer")


def test_other_files_cost_nothing(kata):
    """Not the test's own loop, nor what a library does."""
    assert expect_lines(lambda: [kata.loop(0) for _ in range(100)], kata, 300, what="f") == [0] * 100
    assert expect_lines(lambda: sorted(range(1000), key=lambda x: -x)[0], kata, 0, what="f") == 999


def test_what_never_ends_is_ended_at_the_limit(kata):
    """An `except Exception` of the kata does not hold it."""
    with pytest.raises(Wrong, match="needs more"):
        expect_lines(kata.stubborn, kata, 1000, what="stubborn()")


def test_a_debugger_sees_all_meanwhile_and_is_there_again_afterwards(kata):
    """It traces as well, as does the proof, which asks what a test or a case of a probe runs."""
    before, events = sys.gettrace(), []

    def tracer(frame, event, argument):
        events.append((frame.f_code.co_name, event))
        return tracer

    sys.settrace(tracer)
    try:
        expect_lines(lambda: kata.loop(1), kata, 100, what="f")
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert {("loop", "call"), ("loop", "line"), ("loop", "return")} <= set(events)
