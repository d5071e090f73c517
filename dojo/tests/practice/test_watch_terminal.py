"""`kata watch` as a person uses it: in a real pseudo-terminal, with real saves."""

import os
import re
import signal
import subprocess
import sys
import termios
import time

import pytest

from dojo.practice.watch.view import KEYS
from dojo.progress import runs
from dojo.tests import checkouts

pexpect = pytest.importorskip("pexpect")
if not hasattr(pexpect, "spawn"):
    pytest.skip("pexpect has no pseudo-terminals here", allow_module_level=True)

WAIT_S = 120  # a screen that has not come until then will not come
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-7]|9[0-7])[0-9;]*m")
SEQUENCES = re.compile(r"\x1b\][^\x1b\x07]*(?:\x1b\\|\x07)|\x1b\[[0-?]*[ -/]*[@-~]")
ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
END_OF_PASTES = "\x1b[?2004l"


def environment(**more):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "VISUAL", "EDITOR", "TTY_COMPATIBLE"):
        variables.pop(name, None)
    return {
        **variables,
        "PYTHONPATH": str(checkouts.REPOSITORY),
        "TERM": "xterm-256color",
        "OMP_NUM_THREADS": "1",
        **more,
    }


class Person:
    """Runs `kata watch` in a pseudo-terminal, presses keys and looks at the screen."""

    def __init__(self, checkout, *arguments, rows=24, columns=80, program=None, **more):
        self.raw = ""
        self.child = pexpect.spawn(
            program or sys.executable,
            list(arguments) if program else ["-m", "dojo.cli.main", "watch", *arguments],
            cwd=str(checkout.root),
            env=environment(**more),
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=WAIT_S,
            preexec_fn=checkouts.heed_ctrl_c,
        )

    def read(self, seconds=0.1):
        try:
            self.raw += self.child.read_nonblocking(100_000, timeout=seconds)
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    @property
    def lines(self):
        """The screen as it was drawn last, without colours and links."""
        drawn = [part for part in self.raw.split("\x1b[H")[1:] if "\x1b[J" in part]
        return SEQUENCES.sub("", drawn[-1].split("\x1b[J")[0]).replace("\r", "").split("\n") if drawn else []

    @property
    def screen(self):
        return "\n".join(self.lines)

    def sees(self, *texts, not_=()):
        """Waits until the screen shows all of `texts`, which may be wrapped, and none of `not_`."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            words = " ".join(self.screen.split())
            if self.lines and all(text in words for text in texts) and not any(text in words for text in not_):
                return
            if not self.read():
                break
        raise AssertionError(f"{texts} not seen on\n{self.screen}\n--- after {self.raw[-1000:]!r}")

    def press(self, *keys):
        for key in keys:
            self.child.send(key)

    def resize(self, rows, columns):
        self.child.setwinsize(rows, columns)

    def ends(self):
        """Waits for the end, checks that the terminal was restored, and returns the exit code."""
        end = time.monotonic() + WAIT_S
        while self.read():
            assert time.monotonic() < end, f"it has not ended; on the screen is\n{self.screen}"
        self.child.wait()
        after = self.raw.rpartition(ENTER_SCREEN)[2]
        assert LEAVE_SCREEN in after
        assert SHOW_CURSOR in after
        return self.child.exitstatus

    def echoes(self):
        return bool(termios.tcgetattr(self.child.child_fd)[3] & termios.ECHO)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.close(force=True)


@pytest.fixture
def other(checkout):
    """A second kata beside `tiny`."""
    checkouts.add_kata(checkout, "other")
    return checkout


def editor(folder, text):
    """A shell script that stands for an editor."""
    script = folder / "editor"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


def test_two_mistakes_are_one_story(checkout):
    """At 80x24: neither claims the whole result, and the second one follows the first."""
    checkouts.solve(checkout, "x * 2", "x * x")
    file = checkout.answers / "tiny.py"
    file.write_text(file.read_text().replace("x + by", "x - by"))
    with Person(checkout) as person:
        person.sees(
            "✗ test_double_is_twice_as_much[1]",
            "Part of your result is exactly what you get when x is multiplied by itself. Also, `by` is subtracted.",
        )


def test_an_hour_of_practice(other, tmp_path):
    """Every key, every kind of verdict, and windows of three sizes, in one sitting."""
    tiny = other.answer("tiny")
    copies = editor(tmp_path, f'echo opened >> {tmp_path / "opened"}; cp {other.reference("tiny")} "$1"')
    with Person(other, EDITOR=copies) as person:
        person.sees("How would you double?", "6 tests wait for answers/tiny.py", "0 of 2 katas solved", "verdict in")
        assert len(person.lines) == 24
        assert all(f"{key} {does}" in person.screen for key, does in KEYS.items())
        assert "file://" in person.raw  # the file can be clicked
        assert COLOUR.search(person.raw)

        # wrong: the failure, its hint and its name
        checkouts.solve(other, "x * 2", "x * x")
        person.sees("✗ test_double_is_twice_as_much", "hint: add x to itself", "x is multiplied by itself", "4 of 6")

        # h: one rung after another
        person.press("h")
        person.sees("Hint 1 of 3", "the idea")
        person.press("h")
        person.sees("Hint 2 of 3", "the structure")
        person.press("\r")
        person.sees("✗ test_double_is_twice_as_much", not_=["Hint"])

        # t: every test
        person.press("t")
        person.sees("stage 1 the definition", "✓ test_shift_moves_up", "✗ test_double_is_twice_as_much[1]")
        person.press("\x1b[B", "j", " ", "\x1b[6~", "\x1b[5~", "k", "\x1b[A", "\x1b[C", "\x1b[3~", "?")
        person.press("\x1b")
        person.sees("hint: add x to itself")

        # s: asks before it shows
        person.press("s")
        person.sees("Not solved yet", "Type yes and Enter")
        person.press("n")
        person.sees("verdict in", not_=["Not solved yet"])
        person.press("s")
        person.sees("Type yes and Enter")
        person.press("y", "e", "s", "\r")
        person.sees("solutions/tiny.py", "Two functions of whole numbers")
        person.press("q")  # closes the page, not the watcher
        person.sees("hint: add x to itself")
        assert runs.count_events(other, "tiny", "solution") == 1

        # windows
        for rows, columns in ((40, 120), (12, 40), (6, 20), (24, 80)):
            person.resize(rows, columns)
            end = time.monotonic() + WAIT_S
            while len(person.lines) != rows and time.monotonic() < end:
                person.read()
            person.sees("q quit") if rows > 6 else None
            assert max(map(len, person.lines)) <= columns

        # e: the editor gets the terminal, and what it saved is run
        person.press("e")
        person.sees("Solved: every test passes.", "6 of 6 tests pass", "1 of 2 katas solved")
        assert (tmp_path / "opened").read_text() == "opened\n"

        # r: asks, and keeps a copy
        person.press("r")
        person.sees("Put the stub back?", "Type yes and Enter")
        person.press("n")
        person.sees("Solved", not_=["Put the stub back"])
        person.press("r")
        person.sees("Type yes and Enter")
        person.press("y", "e", "s", "\r")
        person.sees("The stub is back.", ".dojo/backups/tiny-", "tests wait for answers/tiny.py")
        (copy,) = (other.state / "backups").iterdir()
        assert copy.read_bytes() == other.reference("tiny").read_bytes()

        # n, l with arrows, and a save of another kata
        person.press("n")
        person.sees("answers/other.py", "6 tests wait for answers/other.py")
        person.press("l")
        person.sees("▸ · other", "tiny")
        person.press("\x1b[A")
        person.sees("▸ ✓ tiny")  # solved before its stub came back
        person.press("\r")
        person.sees("tests wait for answers/tiny.py")
        checkouts.solve(other, name="other")
        person.sees("answers/other.py", "Solved: every test passes.", "1 of 2 katas solved")
        person.press("s")  # solved: no question asked
        person.sees("solutions/other.py")
        person.press("\x1b")

        # deleted and made again
        other.answer("other").unlink()
        person.sees("answers/other.py does not exist. Press r")
        person.press("r")
        person.sees("6 tests wait for answers/other.py")

        # a kata that crashes, and the save after it
        source = other.reference("other").read_text()
        other.answer("other").write_text(source.replace("return x * 2", "import os; os._exit(0)"))
        person.sees("The run ended the process (exit code 0)", "Mend it and save")
        # It waits to be ended with its parent: a second call might see another parent, the process of this test.
        kills = "import os, time; os.kill(os.getppid(), 9); time.sleep(600)"
        other.answer("other").write_text(source.replace("return x * 2", kills))
        person.sees("ended the trainer's own process")
        other.answer("other").write_text(source)
        person.sees("Solved: every test passes.")

        # an error of .dojo is shown, and practice goes on
        (other.state).rename(tmp_path / "state")
        other.state.write_text("")
        checkouts.solve(other, "x * 2", "x * x", name="other")
        person.sees("✗ test_double_is_twice_as_much", "cannot be used", "progress is not recorded")
        person.press("h")
        person.sees("Hint 1 of 3", "progress is not recorded")
        assert len(person.lines) == 24
        other.state.unlink()
        (tmp_path / "state").rename(other.state)

        person.press("\r", "q")
        assert person.ends() == 0
        assert person.echoes()
    assert runs.last_kata(other) == "other"
    assert tiny.read_text() != other.reference("tiny").read_text()


def test_failures_are_browsed_and_pages_are_left(checkout):
    """What the code printed, one failure after another, a test's source, the solution; and what is typed after q."""
    printing = 'print("x is", x)\n    return x * x'
    checkouts.solve(checkout, "return x * 2", printing)
    with Person(checkout) as person:
        person.sees("✗ test_double_is_twice_as_much[1] 1 of 2: f the next", "x is multiplied by itself")
        person.sees("Printed in test_double_is_twice_as_much[1] x is 1")
        person.press("f")
        person.sees("✗ test_double_is_twice_as_much[5] 2 of 2: f the next", "but is 25", "x is 5")
        person.press("t")
        person.sees("▸ ✗ test_double_is_twice_as_much[5]", "Enter the test", "arrows choose", "Esc or q back")
        person.press("\r")
        person.sees("The definition.", "tests/tiny/test_1_core.py, line 9", "expect_equal(double(x), 2 * x")
        person.press("\x1b")
        person.sees("▸ ✗ test_double_is_twice_as_much[5]")
        person.press("\x1b", "s", "y", "e", "s", "\r")
        person.sees("solutions/tiny.py", "c compare with yours arrows scroll Home top End end Esc or q back")
        assert "kata: begin" not in person.screen
        person.press("c")
        person.sees("- yours, answers/tiny.py + the reference", "- return x * x", "+ return x * 2")
        person.press("\x1b", "\x1b[F")
        person.sees("What an interviewer asks next", "Add once more.", not_=["more: arrow down"])
        person.press("\x1b[B", "\x1b[H")
        person.sees("Two functions of whole numbers", "more: arrow down")
        person.press("q", *"kata hint", "\r", *"exit", "\r")
        person.sees("q quit", "That was typed text, and no key")
        assert runs.count_events(checkout, "tiny", "hint") == 0
        checkouts.solve(checkout, "return x * 2", "breakpoint()")
        person.sees("stopped at a breakpoint", "To debug: kata test tiny -x")
        person.press("\x1b[B", "q")
        assert person.ends() == 0


def test_it_resumes_at_the_kata_run_last_and_without_colour(other):
    """NO_COLOR is set."""
    checkouts.solve(other, "x * 2", "x * x", name="other")
    checkouts.pytest_in(other, "tests/other")
    with Person(other, rows=40, columns=120, NO_COLOR="1") as person:
        person.sees("other in two functions", "✗ test_double", "x is multiplied by itself")
        assert not COLOUR.search(person.raw)
        person.press("d")  # to the drill, which takes over the screen after it was restored
        person.sees("A drill: other in two functions", "Enter starts the clock")
        person.press("q")  # and back, because no clock has started
        person.sees("✗ test_double")
        person.press("q")
        assert person.ends() == 0


@pytest.mark.parametrize("how", ["q", "Ctrl-C", "Ctrl-D", "Ctrl-\\", "SIGTERM", "SIGHUP"])
def test_the_terminal_is_restored(checkout, how):
    """On every way to end, also while torch is still being imported."""
    with Person(checkout) as person:
        assert person.echoes()
        person.sees("tiny in two functions")
        assert not person.echoes()
        if how.startswith("SIG"):
            person.child.kill(getattr(signal, how))
        else:
            person.press({"q": "q", "Ctrl-C": "\x03", "Ctrl-D": "\x04", "Ctrl-\\": "\x1c"}[how])
        assert person.ends() == (1 if how.startswith("SIG") or how == "Ctrl-\\" else 0)
        assert END_OF_PASTES in person.raw.rpartition(ENTER_SCREEN)[2]
        assert person.echoes()
        assert "Traceback" not in person.raw


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii"])
def test_it_is_drawn_in_any_encoding(checkout, encoding):
    """Lines, squares and messages; what the encoding lacks gets a stand-in."""
    checkouts.solve(checkout, "return x * 2", "raise ValueError('日本 \\ud800')")
    with Person(checkout, PYTHONIOENCODING=encoding) as person:
        person.sees("test_double_is_twice_as_much", "raised ValueError", "ud800", "q quit")
        person.press("q")
        assert person.ends() == 0
        assert "Traceback" not in person.raw


PASTED = "def query(keys):\n    try: return solve(keys)\n    except SyntaxError: ...\ny\nsy\nry\n"


@pytest.mark.parametrize("text", [PASTED, f"\x1b[200~{PASTED}\x1b[201~", PASTED * 100, "sy\n", "ry\n"])
def test_text_meant_for_another_window_decides_nothing(checkout, text):
    """Pasted at once, with the marks of a terminal and without: no hint, no solution, no reset, no drill, no end."""
    checkouts.solve(checkout, "x * 2", "x * x")
    mine = checkout.answer("tiny").read_text()
    with Person(checkout) as person:
        person.sees("✗ test_double_is_twice_as_much", "x is multiplied by itself")
        person.press(text)
        checkouts.solve(checkout, "x * 2", "x * 3")  # a sign that the text was read
        person.sees("double(1) should be 2, but is 3", not_=["Type yes"])
        assert [runs.count_events(checkout, "tiny", event) for event in ("hint", "solution", "reset")] == [0, 0, 0]
        checkouts.solve(checkout, "x * 2", "x * x")
        person.sees("x is multiplied by itself")
        assert checkout.answer("tiny").read_text() == mine
        person.press("t")  # keys work as before
        person.sees("✓ test_shift_moves_up")
        person.press("\x1b")  # q right behind it would be one key with it, if both are read at once
        person.sees("x is multiplied by itself", not_=["✓ test_shift_moves_up"])
        person.press("q")
        assert person.ends() == 0


@pytest.mark.parametrize("key", ["s", "r"])
def test_typing_on_answers_no_question(checkout, key):
    """Letter by letter, as somebody types who looks at the editor."""
    checkouts.solve(checkout, "x * 2", "x * x")
    mine = checkout.answer("tiny").read_text()
    with Person(checkout) as person:
        person.sees("✗ test_double_is_twice_as_much")
        person.press(key, "y", "\r", key, "y", "y", key, "y", "e", "\r", key, "y", "e", "s", "t", "\r")
        person.press(key)
        person.sees("Type yes and Enter")
        person.press("n")
        person.sees("verdict in", not_=["Type yes"])
        person.press("q")
        assert person.ends() == 0
    assert [runs.count_events(checkout, "tiny", event) for event in ("solution", "reset")] == [0, 0]
    assert checkout.answer("tiny").read_text() == mine


def test_ctrl_z_and_fg(checkout):
    """The shell's screen and echo are restored; `fg` draws the watcher again."""
    with Person(checkout, "--norc", "-i", program="bash", PS1="shell$ ") as person:
        person.child.expect_exact("shell$ ")
        person.child.sendline(f"{sys.executable} -m dojo.cli watch")
        person.sees("tiny in two functions")
        person.press("\x1a")
        person.child.expect_exact(LEAVE_SCREEN)
        person.child.expect_exact("shell$ ")
        person.child.sendline("stty -a")
        person.child.expect(r"[^-]icanon.*[^-]echo ")
        person.raw = ""
        person.child.sendline("fg")
        person.sees("tiny in two functions", "q quit")
        person.press("q")
        person.child.expect_exact(LEAVE_SCREEN)
        person.child.expect_exact("shell$ ")
        person.child.sendline("stty -a")
        person.child.expect(r"[^-]icanon.*[^-]echo ")


@pytest.mark.parametrize("how", ["pipe", "dumb"])
def test_without_a_terminal_it_says_what_to_do(checkout, how):
    """In a pipe, and where no screen can be drawn."""
    command = [sys.executable, "-m", "dojo.cli.main", "watch"]
    if how == "pipe":
        done = subprocess.run(
            command, cwd=checkout.root, env=environment(), capture_output=True, text=True, check=False
        )
        code, output = done.returncode, done.stderr
    else:
        with Person(checkout, TERM="dumb") as person:
            while person.read():
                pass
            person.child.wait()
            code, output = person.child.exitstatus, person.raw
    assert code == 2
    assert "needs a terminal with keys and a screen. Without one: kata test NAME" in output
    assert ENTER_SCREEN not in output


def test_an_editor_that_is_not_there(checkout):
    """The screen says so, also after --edit at the start; the watcher goes on."""
    with Person(checkout, "tiny", "--edit", VISUAL="/no/such/editor --wait") as person:
        person.sees("could not be started", "Set EDITOR")
        person.press("q")
        assert person.ends() == 0


def test_no_editor_at_all(checkout):
    """The screen says which variable to set."""
    with Person(checkout) as person:
        person.sees("q quit")
        person.press("e")
        person.sees("No editor is set: export EDITOR=vim")
        person.press("q")
        assert person.ends() == 0
