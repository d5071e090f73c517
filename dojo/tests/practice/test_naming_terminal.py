"""What a person sees while a failure is compared with the known mistakes: in `kata watch` and in `kata test`."""

import sys

import pytest

from dojo.tests import checkouts
from dojo.tests.practice.test_watch_terminal import WAIT_S, Person, pexpect

AWAITED = "comparing with 2 known mistakes ..."
NAME = "Your result is exactly what you get when x is multiplied by itself."


@pytest.fixture
def let_go(checkout, tmp_path):
    """A wrong answer whose comparison waits until this is called."""
    go = tmp_path / "go"
    waits = f"import time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
    checkout.probe("tiny").write_text(checkouts.PROBE + waits)
    checkouts.solve(checkout, "x * 2", "x * x")
    return go.touch


def test_watch_says_what_is_awaited(checkout, let_go):
    """The failure stands on the screen meanwhile; the name comes into the same screen."""
    with Person(checkout) as person:
        person.sees("✗ test_double_is_twice_as_much", "hint: add x to itself", AWAITED)
        let_go()
        person.sees(NAME, not_=[AWAITED])
        person.press("q")
        assert person.ends() == 0


def test_a_run_says_what_is_awaited(checkout, let_go):
    """On a terminal, until the name comes."""
    arguments = ["-m", "dojo.cli.main", "test", "tiny", f"--naming-limit={WAIT_S}"]
    with Person(checkout, *arguments, program=sys.executable) as person:
        person.child.expect_exact(AWAITED)
        let_go()
        person.child.expect_exact(f"\r{' ' * len(AWAITED)}\r")
        person.child.expect_exact(NAME)
        person.child.expect(pexpect.EOF)
