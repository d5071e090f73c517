"""The page of `kata debug`: one test, what it gave to the learner's functions, and what they gave."""

import json
import re
import sys

import pytest

from dojo.core.outcome import Outcome
from dojo.engine.calls import Call
from dojo.engine.debug_page import DebuggedTest, page
from dojo.tests.checkouts import pytest_in
from dojo.tests.practice.test_watch_terminal import SEQUENCES, Person, pexpect

TESTS = '''\
"""Stage 1. The definition."""

import torch

from dojo.testing import expect_close, expect_equal, expect_raises, randn
from katas.tiny import Layer, halves, scale


def test_scale(rng):
    """A factor for each column, and a name that is long enough to need a second line of a terminal's 80 columns."""
    for size in (2, 3):
        expect_close(scale(torch.ones(size), by=2), torch.full((size,), 2.0), what="scale of ones", hint="by")
    x = randn(rng, 2, 3)
    expect_close(scale(x, by=torch.arange(3.0)), x * torch.arange(3.0), what="scale(x)", hint="a factor for each")


def test_layer(rng):
    """Its weight scales."""
    layer = Layer(3, start=1.5)
    expect_equal(layer(torch.ones(3)).tolist(), [1.5] * 3, what="layer(1)", hint="start")


def test_halves():
    """Each is yielded."""
    expect_equal(list(halves(5)), [5, 2, 1], what="halves(5)", hint="floor")


def test_of_limits():
    """An error."""
    with expect_raises(ValueError, what="scale(0)", hint="check"):
        scale(0, by=2)


def test_in_another_way():
    """It looks at no function."""
    expect_equal(Layer.__doc__, "Scales.", what="the docstring", hint="keep it")
'''
KATA = '''\
import torch
from torch import nn


def scale(x, by, *, check=True):
    if isinstance(x, int):
        raise TypeError(f"{x} is no tensor")
    return x * by


def halves(n):
    while n:
        yield n
        n //= 2


class Layer(nn.Module):
    """Scales."""

    def __init__(self, size, start):
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), start))

    def forward(self, x):
        return scale(x, self.weight)
'''


@pytest.fixture
def tiny(checkout):
    """A kata with torch in it; test_of_limits fails."""
    for file in checkout.test_files("tiny"):
        file.unlink()
    (checkout.tests("tiny") / "test_1_core.py").write_text(TESTS)
    checkout.answer("tiny").write_text(KATA)
    return checkout


def debug(checkout, test="", *options, lines=24, **environment):
    options = (
        "-p",
        "dojo.engine.debugging",
        f"--debug-test={test}",
        "--no-naming",
        "--no-history",
        "--no-header",
        *options,
    )
    return pytest_in(checkout, "tests/tiny", *options, COLUMNS="80", LINES=str(lines), **environment)


def wrong(checkout, old, new):
    assert old in KATA
    checkout.answer("tiny").write_text(KATA.replace(old, new))


PAGE = """\
test_scale  (stage 1, seed 0)
A factor for each column, and a name that is long enough to need a second line
of a terminal's 80 columns.
Again: kata test tiny -k test_scale --kata-seed=0

... and 1 call before
scale  (answers/tiny.py, line 8)
  x         float32 [3] 1 1 1
  by        2
  check     True
  returned  float32 [3] 2 2 2
scale  (answers/tiny.py, line 8)
  x         float64 [2, 3] X
  by        float32 [3] 0 1 2
  check     True
  returned  float64 [2, 3] RETURNED

scale(x) at [0, 0] should be 0, but is """


def test_the_first_failing_test_is_shown_with_what_it_gave(tiny):
    """A whole page: what the test drew, what came back, and the failure."""
    wrong(tiny, "return x * by", "return x * 2 if isinstance(by, int) else x + by")
    session = debug(tiny)
    assert session.code == 1
    drawn, returned = re.findall(r"float64 \[2, 3\] (.+)", session.output)
    assert session.output.startswith(PAGE.replace("X\n", f"{drawn}\n").replace("RETURNED", returned))
    x, result = ([float(number) for number in text.split()] for text in (drawn, returned))
    assert result == pytest.approx([number + column for number, column in zip(x, [0, 1, 2] * 2, strict=True)], abs=1e-3)
    assert session.output.endswith("hint: a factor for each\n")
    assert len(session.output.splitlines()) <= 22


def test_another_seed_draws_other_inputs(tiny):
    """And the command that runs the test again has it."""
    wrong(tiny, "return x * by", "return x * 2 if isinstance(by, int) else x + by")
    first, other = debug(tiny), debug(tiny, "", "--kata-seed=7")
    assert "(stage 1, seed 7)" in other.output
    assert "Again: kata test tiny -k test_scale --kata-seed=7\n" in other.output
    assert re.findall(r"float64.*", first.output) != re.findall(r"float64.*", other.output)


def test_every_call_can_be_shown(tiny):
    """However long the page becomes."""
    wrong(tiny, "return x * by", "return x * 2 if isinstance(by, int) else x + by")
    output = debug(tiny, "", "--every-call").output
    assert "before" not in output
    assert output.count("\nscale  (answers/tiny.py, line 8)\n") == 3
    assert debug(tiny, lines=12).output.count("\nscale  (") == 1  # the last one, however small the window is


@pytest.mark.parametrize(
    ("test", "lines"),
    [
        ("layer", ["Layer  (answers/tiny.py, line 22)", "  size   3", "  start  1.5", "  built  Layer(weight [3])"]),
        ("layer", ["Layer.forward  (answers/tiny.py, line 25)", "  self      Layer(weight [3])", "  x         float32 [3] 1 1 1"]),
        ("halves", ["halves  (answers/tiny.py, line 12)", "  n                       5", "  yielded 3 values, last  1", "", "It passes."]),
        ("limits", ["  raised  TypeError: 0 is no tensor", "", "scale(0) should raise ValueError, but raised TypeError: 0 is no tensor"]),
        ("another", ["The test called none of your functions in its own process.", "", "It passes."]),
        ("tests/tiny/test_1_core.py::test_halves", ["test_halves  (stage 1, seed 0)", "Each is yielded."]),
        ("nope", ["No test has 'nope' in its name. All names: kata test tiny --collect-only -q"]),
        ("test_", ["test_of_limits  (stage 1, seed 0)", "An error."]),
    ],
    ids=["constructor", "method", "generator", "error", "no call", "node id", "no such test", "several"],
)  # fmt: skip
def test_one_test_can_be_chosen(tiny, test, lines):
    """By a part of its name; of several, the first that fails. One that passes can be looked at as well."""
    assert "\n".join(lines) + "\n" in "\n" + debug(tiny, test).output


def test_where_no_test_fails_it_says_so(tiny):
    """Passed or not written yet."""
    right = KATA.replace("raise TypeError", "raise ValueError")
    tiny.answer("tiny").write_text(
        right.replace("    while n:\n", "    raise NotImplementedError('write me')\n    while n:\n")
    )
    session = debug(tiny)
    assert session.code == 1
    assert session.output.startswith(
        "No test fails: 4 passed, 1 not started.\nTo look at one that passes, name it alone:"
    )
    assert "kata debug tiny TEST" in session.output


def test_a_file_that_does_not_import_is_told(tiny):
    """As every run tells it."""
    tiny.answer("tiny").write_text("def scale(x)\n    return x\n")
    assert debug(tiny).output.startswith("answers/tiny.py, line 1: expected ':'\n")


def test_a_test_that_is_explained_by_running_it_again_shows_its_first_run(tiny):
    """The second draws other numbers."""
    tests = tiny.tests("tiny") / "test_1_core.py"
    tests.write_text(
        "from katas.tiny import halves\n\n\ndef test_x(rng):\n    list(halves(int(rng.initial_seed())))[0].x\n"
    )
    wrong(tiny, "while n:", "while False:")
    output = debug(tiny, "", "--kata-seed=7").output
    assert output.count("halves  (") == 1
    assert "before" not in output
    assert "  n  " in output


def test_the_page_is_in_the_readers_language(tiny):
    """What the test is for, what it says, its values in one line each, and the hint."""
    texts = {"Its weight scales.": "Scales.", "a factor for each": "each", "A factor for each column": "?"}
    blocks = [f"[[text]]\nen = {json.dumps(en)}\nzh = {json.dumps(zh)}" for en, zh in texts.items()]
    (tiny.tests("tiny") / "messages.zh.toml").write_text("\n\n".join(blocks), encoding="utf-8")
    wrong(tiny, "return x * by", "return x * 2 if isinstance(by, int) else x + by")
    lines = debug(tiny, "", KATA_LANG="zh").output.splitlines()
    assert lines[-1] == "\u63d0\u793a\uff1aeach"
    assert sum(line.startswith(("\u671f\u671b  ", "\u5b9e\u9645  ")) for line in lines) == 2
    assert "Scales." in debug(tiny, "test_layer", KATA_LANG="zh").output.splitlines()


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (40, 100)])
def test_the_page_fits_the_terminal(tiny, rows, columns):
    """It leaves room for the prompt, and uses the room that there is."""
    wrong(tiny, "return x * by", "return x * 2 if isinstance(by, int) else x + by")
    with Person(
        tiny, "-m", "dojo.cli.main", "debug", "tiny", rows=rows, columns=columns, program=sys.executable
    ) as person:
        person.child.expect(pexpect.EOF)
        lines = SEQUENCES.sub("", person.child.before).replace("\r", "").splitlines()
    assert len(lines) <= rows - 2
    assert max(map(len, lines)) <= columns
    assert lines[0] == "test_scale  (stage 1, seed 0)"
    assert lines[-1] == "hint: a factor for each"
    assert ("... and 1 call before" in lines) == (rows == 24)
    assert any(len(line) > 80 for line in lines) == (columns == 100)


def record(test="test_x", message="", calls=(), before=0):
    outcome = Outcome(test, "tiny", 1, "failed", message)
    return DebuggedTest(outcome, 3, "why " * 100, "answers/tiny.py", list(calls), before)


@pytest.mark.parametrize(
    ("test", "keyword"),
    [
        ("test_x", "test_x"),
        ("test_x[0.5-float16]", "'test_x[0.5-float16]'"),
        ("test_x[a b, c=d]", "test_x"),  # -k would not take it
        ("test_x[(1, 2)]", "test_x"),
    ],
)
def test_the_command_runs_the_test_again(test, keyword):
    """For a shell."""
    assert record(test).again == f"kata test tiny -k {keyword} --kata-seed=3"


def test_a_page_is_bounded():
    """Many calls, many arguments, long texts."""
    arguments = {f"argument_{number}": "x" * 300 for number in range(40)}
    calls = [Call("function", page, arguments, 0, "returned", 7, "y" * 300) for _ in range(30)]
    lines = page(record("test_" + "long_" * 12, "wrong " * 400, calls, before=5), 80, 22)
    texts = [line.text for line in lines]
    assert sum(-(-len(text) // 80) or 1 for text in texts) <= 22
    assert "... and 34 calls before" in texts
    assert any(re.fullmatch(r"  \.\.\. and 3\d arguments more", text) for text in texts)


def test_a_call_whose_end_was_not_seen():
    """After a debugger, which takes the place of what records."""
    lines = [line.text for line in page(record(calls=[Call("function", page, {}, 0)]), 80, 22)]
    assert "  ended  not seen; a debugger stops the recording, for example" in lines
    assert "function  (answers/tiny.py)" in lines


def test_no_value_moves_the_cursor(tiny):
    """A text of the learner's may hold the sequence that clears a terminal."""
    wrong(tiny, "{x} is no tensor", "\\x1b[2J is no tensor")
    output = debug(tiny, "limits").output
    assert "\x1b[2J" not in output
    assert "TypeError: \\x1b[2J is no tensor" in output


def test_a_debugger_can_be_used(tiny):
    """It stops at the line after breakpoint(), and `q` ends the run without a page."""
    wrong(tiny, "    if isinstance", "    breakpoint()\n    if isinstance")
    with Person(tiny, "-m", "dojo.cli.main", "debug", "tiny", program=sys.executable) as person:
        person.child.expect_exact("-> if isinstance(x, int):")
        person.press("c\n")
        person.child.expect_exact("-> if isinstance(x, int):")
        person.press("q\n")
        person.child.expect(pexpect.EOF)
        assert "in its name" not in person.child.before
