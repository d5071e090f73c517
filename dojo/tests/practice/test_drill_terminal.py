"""Drills, hunts and a mock interview in a pseudo-terminal: real processes, and a clock that the test sets."""

import os
import re
import signal
import sqlite3
import sys
import time
from contextlib import suppress

import pytest

from dojo.tests.checkouts import REPOSITORY, SOLUTION
from dojo.tests.progress.made_up_history import NOON

pexpect = pytest.importorskip("pexpect")
if sys.platform == "win32":
    pytest.skip("no pseudo-terminals", allow_module_level=True)

STAGE_1 = "def double(x):\n    return 2 * x\n\n\ndef shift(x, by=2):\n    return x + by\n"
SQUARES = STAGE_1.replace("2 * x", "x * x")
# Repairs at the end of the file, of "squares" and of "moves down". Without one of these lines, tests fail.
ELSEWHERE = {
    "x * x": "squared = double\ndef double(x):\n    return squared(x) and x + x\n",
    "x - by": "down = shift\ndef shift(x, by=3):\n    return down(x, -by)\n",
}
WHOLE = SOLUTION.replace("# kata: begin", "").replace("# kata: end", "")


class Sitting:
    """Runs `kata` in a pseudo-terminal. `see` waits until the screen (or the text printed at the end) holds a text."""

    limit_s = 60  # until a test gives up

    def __init__(self, checkout, columns=80, rows=24, **environment):
        self.checkout, self.size, self.environment = checkout, (rows, columns), environment
        self.clock = checkout.root / "clock"
        self.child = None
        self.set(NOON)

    def set(self, now):
        self.now = now
        self.clock.with_name("clock.new").write_text(str(now))
        os.replace(self.clock.with_name("clock.new"), self.clock)

    def wait(self, seconds):
        self.set(self.now + seconds)

    def kata(self, *arguments):
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("KATA", "PYTEST", "FORCE_", "NO_COLOR"))
        }
        environment |= {"KATA_CLOCK": str(self.clock), "TERM": "xterm-256color", "PYTHONPATH": str(REPOSITORY)}
        environment |= {"OMP_NUM_THREADS": "1"} | self.environment
        self.text = ""
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "dojo.cli.main", *arguments],
            cwd=str(self.checkout.root),
            env=environment,
            dimensions=self.size,
            encoding="utf-8",
            timeout=self.limit_s,
        )
        return self

    def press(self, *keys):
        for key in keys:
            self.child.send(key)

    def screen(self):
        """The words on the screen as it was drawn last."""
        frame = self.text.rpartition("\x1b[H")[2]
        return " ".join(re.sub(r"\x1b\][^\x1b\x07]*(\x1b\\|\x07)|\x1b\[[0-9;?]*[A-Za-z]", "", frame).split())

    def begins(self):
        """Starts the clock on the page before."""
        self.see("Enter starts the clock")
        self.press("\r")
        return self

    def see(self, text):
        until = time.monotonic() + self.limit_s
        while text not in self.screen():
            with suppress(pexpect.TIMEOUT):
                try:
                    self.text += self.child.read_nonblocking(65536, timeout=0.5)
                except pexpect.EOF:
                    assert text in self.screen(), f"ended without {text!r}:\n{self.screen()}"
                    return self
            assert time.monotonic() < until, f"no {text!r} in:\n{self.screen()}"
        return self

    def leaves(self, code=0):
        """Waits until the process ends by itself, with this code."""
        with suppress(pexpect.EOF):
            while True:
                self.text += self.child.read_nonblocking(65536, timeout=self.limit_s)
        self.child.close()
        assert self.child.exitstatus == code
        assert "\x1b[?1049l" in self.text or "\x1b[?1049h" not in self.text  # the screen was restored
        return self

    def end(self):
        """Kills everything in the terminal with SIGKILL."""
        if self.child and self.child.isalive():
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.close(force=True)

    def file(self):
        """The file of the newest drill or hunt."""
        folders = [f for room in ("drills", "hunts") for f in (self.checkout.state / room).glob("*")]
        return max(folders, key=lambda f: f.stat().st_ctime_ns) / "tiny.py"

    def save(self, text):
        beside = self.file().with_suffix(".new")
        beside.write_text(text)
        os.replace(beside, self.file())

    def stored(self, query):
        with sqlite3.connect(self.checkout.state / "history.sqlite", timeout=10) as db:
            rows = db.execute(query).fetchall()
        db.close()
        return rows

    def until_stored(self, query, rows):
        until = time.monotonic() + self.limit_s
        while (result := self.stored(query)) != rows:
            assert time.monotonic() < until, result
            with suppress(pexpect.TIMEOUT, pexpect.EOF):  # the program waits when nobody reads what it draws
                self.text += self.child.read_nonblocking(65536, timeout=0.05)


@pytest.fixture
def sit(checkout):
    """Starts `kata` in pseudo-terminals that are closed after the test."""
    begun = []

    def begin(*arguments, **options):
        begun.append(Sitting(checkout, **options))
        return begun[-1].kata(*arguments)

    yield begin
    for sitting in begun:
        sitting.end()


def test_a_whole_drill_left_killed_and_brought_to_its_end(sit, checkout):
    """From the first question over every stage to the follow-up and the last page; katas/ is as it was."""
    stub = checkout.answer("tiny").read_bytes()
    me = sit("drill", "tiny").begins()
    me.see("How would you double?").see("5:00 left").see("write me")
    me.save(SQUARES)
    me.see("double(1) should be 2, but is 1").see("x explain (-5)")
    me.wait(60)
    me.press("h")
    me.see("Hint 1 of 3").see("4:00 left")
    me.press("\r")
    me.save(STAGE_1)
    me.see("Good. And now: limits")
    me.press("p")
    me.see("The clock stands.")
    me.wait(600)
    me.press("p")
    me.see("stage 2").see("4:00 left")
    me.press("q")
    me.see("Left; the clock stands. Go on with: kata drill --resume").leaves()

    me.wait(3600)
    me.kata("drill", "--resume").see("4:00 of 5 minutes are left.").begins().see("Good. And now: limits").see(
        "4:00 left"
    )
    me.wait(60)
    me.see("3:00 left")
    me.until_stored("SELECT elapsed FROM session", [(120.0,)])
    me.end()

    me.wait(3600)
    me.kata("drill", "--resume").begins().see("Good. And now: limits").see("3:00 left")
    me.press("f")
    me.see("Type yes and Enter")
    me.press("n", "t")
    me.see("test_shift_moves_up")
    me.save(WHOLE)
    me.see("95 points. Follow-up question 1 of 1").see("And triple?")
    me.press("\r")
    me.see("Add once more.")
    me.press("3")
    me.see("tiny in two functions: 95 points")
    me.press("q")
    me.leaves()
    page = me.screen()
    for part in (
        "2:00 of 5:00",
        "1 hint (-5 points), paused for 2:10:00, follow-ups 3 of 3",
        "■ 1 4/4 62 1:00 the definition",
        "■ 2 2/2 38 2:00 limits",
        "All stages stand after 2:00.",
        "The first mistake: squares. Part of your result is exactly what you get when x is multiplied by itself.",
        "Your first drill of this kata.",
        "To solve again in ",
    ):
        assert part in page
    assert checkout.answer("tiny").read_bytes() == stub
    assert me.stored("SELECT count(*) FROM run WHERE how != 'drill'") == [(0,)]
    me.kata("list").see("1 of 1 katas solved").leaves()
    me.kata("drill", "--resume").see("No drill was left unfinished. Begin one: kata drill").leaves(2)


def test_time_runs_out_and_what_is_saved_afterwards_does_not_count(sit):
    """In a wide window, without colour."""
    me = sit("drill", "tiny", columns=160, rows=50, NO_COLOR="1").begins()
    me.see("write me")
    me.save(STAGE_1)
    me.see("Good. And now: limits")
    me.wait(301)
    me.see("time is up").see("Follow-up question")
    me.save(WHOLE)
    me.press("\r", "1")
    me.see("tiny in two functions: ").see("□ 2 0/2 0 - limits")
    assert "\x1b[3" not in me.text
    me.press("q")
    me.see("61.5 points").leaves()


def test_a_syntax_error_without_a_history_gets_no_points_and_a_page(sit, checkout):
    """The screen says that nothing is recorded; the drill goes on to its end."""
    (checkout.state / "history.sqlite").mkdir(parents=True)  # even root cannot write it
    me = sit("drill", "tiny").begins()
    me.see("write me").see("progress is not recorded")
    me.save("def double(:\n")
    me.see("invalid syntax")
    me.press("f", "y", "e", "s", "\r")
    me.see("0 points. Follow-up question 1 of 1")
    me.press("\r", "1")
    me.see("could not be graded")
    me.press("q")
    me.leaves()


def test_leaving_before_the_clock_starts_costs_nothing(sit, checkout):
    """A drill, a round and a hunt: no session, no folder; what was typed meanwhile does nothing."""
    me = sit("drill", "tiny").see("A drill: tiny in two functions").see("5 minutes on a fresh copy")
    me.press("f", "h")
    me.see("Enter starts the clock q leave; nothing is recorded").press("q")
    me.see("Not begun: nothing is recorded, and no clock has run.").leaves()
    for arguments in (["drill", "--mock"], ["hunt", "tiny"]):
        me.kata(*arguments).see("starts the clock").press("q")
        me.see("Not begun").leaves()
    assert me.stored("SELECT count(*) FROM session") == [(0,)]
    assert not (checkout.state / "drills").exists()
    assert not (checkout.state / "hunts").exists()


def test_a_hunt_is_solved(sit, checkout):
    """One line of the file is wrong, and is mended in others, which costs nothing."""
    stub = checkout.answer("tiny").read_bytes()
    me = sit("hunt", "tiny", "--seed", "1")
    me.see("You have not solved tiny, and a hunt shows its reference").press("y", "e", "s", "\r")
    me.see("One bug is planted.").see("✗ test_")
    me.wait(300)
    planted = me.file().read_text()
    me.save(planted + next(repair for wrong, repair in ELSEWHERE.items() if wrong in planted))
    me.see("1 of 1 bugs mended in 5:00 of 10:00, 0 lines changed without need, 0 hints, seed 1")
    me.press("q")
    me.see("Bug hunt, tiny in two functions: 90 points").leaves()
    assert checkout.answer("tiny").read_bytes() == stub


def test_a_round_left_in_its_second_part_goes_on_to_the_third(sit):
    """Warm-up, core and hunt, all of the one kata in the catalogue."""
    me = sit("drill", "--mock").see("3 parts in 60 minutes").see("The hunt shows the reference of tiny").begins()
    me.see("1 of 3: tiny").see("15:00 left").see("write me")
    me.save(WHOLE)
    me.see("And triple?")
    me.press("\r", "3")
    me.see("go on with the round")
    me.press("\r")
    me.see("2 of 3: A drill: tiny").begins().see("2 of 3: tiny").see("30:00 left").see("write me")
    me.wait(600)
    me.see("20:00 left")
    me.press("q")
    me.see("Go on with the round: kata drill --resume").leaves()
    me.wait(600)
    me.kata("drill", "--resume").see("2 of 3: The drill that you left").begins().see("2 of 3: tiny").see("20:00 left")
    me.save(STAGE_1)
    me.see("Good. And now: limits")
    me.press("f", "y", "e", "s", "\r")
    me.see("And triple?")
    me.press("\r", "2")
    me.see("go on with the round")
    me.press("\r")
    me.see("3 of 3: A bug hunt: tiny").begins().see("3 of 3: tiny").see("One bug is planted.").see("✗ test_")
    me.save(me.file().read_text().replace("x * x", "x * 2").replace("x - by", "x + by"))
    me.see("1 of 1 bugs mended")
    me.press("q")
    me.see("The round: ").leaves()
    assert "Take the weakest again: kata drill tiny" in me.screen()
    assert me.stored("SELECT kind, ended IS NULL FROM session ORDER BY id") == [
        ("mock", 0), ("drill", 0), ("drill", 0), ("hunt", 0)
    ]  # fmt: skip
