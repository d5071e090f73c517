"""The pages of `kata watch`, and what a learner's code prints; without a terminal or a process."""

import pytest

from dojo.core.catalog import load_catalog
from dojo.core.outcome import Outcome
from dojo.engine.messages import FirstFailure, Verdict
from dojo.practice import app as practice_app
from dojo.practice import screen
from dojo.practice.app import TYPED_TEXT
from dojo.practice.pages import Page
from dojo.practice.watch import one_test, view
from dojo.practice.watch.app import WatchApp
from dojo.progress import runs
from dojo.tests import checkouts
from dojo.tests.practice.drill_without_terminal import FakeForkServer, FakeSaves, FakeTerminal, press

LONG_SOLUTION = checkouts.SOLUTION + "\n\n" + "".join(f"# line {number}\n\n" for number in range(30))
FAILURES = (
    Outcome("test_a_negative_number_is_an_error", "tiny", 2, "failed", "double(-1) should raise ValueError"),
    Outcome(
        "test_double_is_twice_as_much[5]",
        "tiny",
        1,
        "failed",
        "double(5) should be 10, but is 25\nhint: add x to itself",
    ),
    Outcome("test_shift_moves_up", "tiny", 1, "passed"),
    Outcome("test_shift_moves_by_three_unless_told", "tiny", 2, "failed", "shift(4) should be 7, but is 1"),
)


class Watching(WatchApp):
    """A watcher that is told verdicts, and counts how often something was laid out for the screen."""

    def screen(self, size=(80, 24)):
        if self.terminal.size != size:
            self.terminal.console.size = size
        self.draw()
        return self.terminal.screen

    def told(self, *outcomes, printed=""):
        number = self.forkserver.jobs[-1].number
        self.handle_message(Verdict(number, outcomes, {"tiny": len(outcomes)}, "digest", 0.1, printed))


@pytest.fixture
def watching(checkout, monkeypatch):
    """`kata watch tiny` at 80x24."""
    checkouts.add_kata(checkout, "other", solution=LONG_SOLUTION)
    checkouts.solve(checkout, "x * 2", "x * x")
    monkeypatch.setattr(practice_app, "ForkServer", FakeForkServer)
    monkeypatch.setattr(practice_app, "FileWatcher", FakeSaves)
    return Watching(checkout, load_catalog(checkout), "tiny", FakeTerminal())


@pytest.fixture
def on_solution(watching):
    """The page of a long solution."""
    watching.open_kata("other")
    watching.show_solution()
    return watching


def words(text):
    return " ".join(text.split())


# The solution


def test_the_solution_has_its_blank_lines_and_no_marks(on_solution):
    """As it stands in the file, without what only the trainer needs."""
    text = "\n".join(line.strip() for line in on_solution.page.lines(80))
    assert "Two functions of whole numbers.\n" + '"""\n\n\ndef double(x: int) -> int:' in text
    assert "return x * 2" in text
    assert "kata: begin" not in text
    assert "kata: end" not in text
    assert "What an interviewer asks next" in text
    assert "And triple?" in text
    assert "Add once more." in text


def test_the_solution_is_highlighted(on_solution, monkeypatch):
    """In the terminal's own colours, and without a background."""
    monkeypatch.setattr(on_solution.terminal.console, "_color_system", 1)
    monkeypatch.setattr(on_solution.terminal.console, "_force_terminal", True)
    line = next(line for line in on_solution.page.make() if "return" in line)
    assert "\x1b[" in line.partition("return")[0]


def test_scrolling_lays_nothing_of_the_page_out_again(on_solution):
    """Fifty keys, and the page was made once."""
    made, make = [], on_solution.page.make
    on_solution.page.make = lambda: made.append(make()) or made[-1]
    on_solution.screen()
    for key in ("down", "j", "up", "space", "page down") * 10:
        press(on_solution, key)
        on_solution.screen()
    assert len(made) == 1
    on_solution.screen((60, 24))  # another width is another page
    assert len(made) == 2


def test_scrolling_stops_at_the_end_and_home_and_end_lead_there(on_solution):
    """The last line stays at the bottom, and one key up moves at once."""
    first = on_solution.screen()
    press(on_solution, "up")
    assert on_solution.screen() == first
    press(on_solution, "end")
    last = on_solution.screen()
    assert "Add once more." in last
    assert "more: arrow down" not in last
    for _ in range(5):
        press(on_solution, "down")
    assert on_solution.screen() == last
    press(on_solution, "up")
    assert on_solution.screen() != last
    press(on_solution, "home")
    assert on_solution.screen() == first


def test_the_footer_of_a_page_names_its_keys(on_solution):
    """And not those of the verdict, which mean nothing here."""
    footer = on_solution.screen().splitlines()[-1]
    assert words(footer) == "c compare with yours arrows scroll Home top End end Esc or q back"
    for key in ("n", "d", "e", "r", "l", "x", "1"):
        press(on_solution, key)
    assert not on_solution.done
    assert on_solution.kata.name == "other"
    assert on_solution.page


def test_c_shows_ones_own_code_beside_the_reference(watching):
    """Only what differs, the reference's lines and one's own; back leads to the solution."""
    watching.show_solution()
    press(watching, "c")
    text = watching.screen()
    assert "- yours, answers/tiny.py   + the reference" in text
    assert "-    return x * x" in text
    assert "+    return x * 2" in text
    assert "Two functions" not in text
    press(watching, "escape")
    assert "compare with yours" in watching.screen()
    press(watching, "escape")
    assert watching.page is None


@pytest.mark.parametrize("state", ["same", "missing", "no text"])
def test_there_may_be_nothing_to_compare(watching, state):
    """The page says so, whatever is in the file."""
    file = watching.file
    if state == "same":
        file.write_text(checkouts.SOLUTION.replace("    # kata: begin\n", "").replace("    # kata: end\n", ""))
    elif state == "missing":
        file.unlink()
    else:
        file.write_bytes(b"\xff\x00\x1b[2J")
    watching.show_solution()
    press(watching, "c")
    text = words(watching.screen())
    says = {
        "same": "are the same, line for line",
        "missing": "answers/tiny.py does not exist",
        "no text": "return x * 2",
    }
    assert says[state] in text
    assert "\x1b[2J" not in text


# Back


@pytest.mark.parametrize("key", ["q", "escape", "enter"])
def test_q_on_a_page_is_back(on_solution, key):
    """To the verdict, not out of the program."""
    press(on_solution, key)
    assert on_solution.page is None
    assert not on_solution.done
    assert "q quit" in on_solution.screen()


def test_a_terminal_that_is_gone_ends_the_program_from_a_page_too(on_solution):
    """Nobody could press q a second time."""
    press(on_solution, "closed")
    assert on_solution.done


def test_a_command_typed_after_q_does_nothing(on_solution):
    """It was meant for the shell. The screen says so."""
    press(on_solution, "q", *"kata", "space", *"list", "enter", *"next", "enter", *"exit")
    assert (on_solution.kata.name, on_solution.page, on_solution.done) == ("other", None, False)
    assert TYPED_TEXT in words(on_solution.screen())
    assert runs.count_events(on_solution.checkout, "other", "hint") == 0


def test_a_key_after_q_waits_and_then_acts(on_solution):
    """The loop wakes up for it."""
    press(on_solution, "q", "t")
    assert on_solution.page is None
    while on_solution.page is None:
        on_solution.handle_events()
    assert "No test has run yet." in on_solution.screen()
    press(on_solution, "escape", "t")  # at once
    assert on_solution.page


# Failures


def test_f_steps_through_the_failures(watching):
    """Those of the lowest stage first, and after the last one the first again; the screen says which of how many it is."""
    watching.told(*FAILURES)
    seen = []
    for _ in range(4):
        seen.append(words(watching.screen()))
        press(watching, "f")
    assert [text.partition("✗ ")[2].split()[0] for text in seen] == [
        "test_double_is_twice_as_much[5]",
        "test_a_negative_number_is_an_error",
        "test_shift_moves_by_three_unless_told",
        "test_double_is_twice_as_much[5]",
    ]
    assert "2 of 3: f the next" in seen[1]
    assert "shift(4) should be 7, but is 1" in seen[2]
    watching.start_run()
    watching.told(*FAILURES)
    assert "1 of 3: f the next" in watching.screen()  # the next run begins at the first


def test_one_failure_has_no_next(watching):
    """Nothing is said of a key, and the key does nothing."""
    watching.told(FAILURES[0])
    first = watching.screen()
    press(watching, "f")
    assert watching.screen() == first
    assert "the next" not in first


def test_the_first_failure_of_a_run_has_no_next_yet(watching):
    """The verdict that follows shows the same one."""
    number = watching.forkserver.jobs[-1].number
    watching.handle_message(FirstFailure(number, FAILURES[1]))
    press(watching, "f")
    watching.told(*FAILURES)
    assert "1 of 3" in watching.screen()


def test_a_test_says_what_it_is_for_in_the_readers_language(watching, checkout, monkeypatch):
    """Its source stays as it is."""
    entry = '[[text]]\nen = "The definition."\nzh = "\u5b9a\u4e49"'
    (checkout.tests("tiny") / "messages.zh.toml").write_text(entry, encoding="utf-8")
    monkeypatch.setenv("KATA_LANG", "zh")
    watching.told(*FAILURES)
    press(watching, "t", "enter")
    assert " \u5b9a\u4e49" in watching.screen()
    assert '"""The definition."""' in watching.screen()


def test_t_chooses_a_test_and_shows_its_docstring_and_source(watching):
    """It begins at the failure on the screen; back leads to the list, at the same place."""
    watching.told(*FAILURES)
    press(watching, "f", "t")
    assert "▸ ✗ test_a_negative_number_is_an_error" in watching.screen()
    press(watching, "up", "up")
    assert "▸ ✗ test_double_is_twice_as_much[5]" in watching.screen()
    press(watching, "enter")
    text = watching.screen()
    assert "✗ test_double_is_twice_as_much[5]" in text
    assert "hint: add x to itself" in text
    assert "The definition." in text  # the docstring
    assert "tests/tiny/test_1_core.py, line 9" in text
    assert '@pytest.mark.parametrize("x", [0, 1, 5])' in text
    assert "Esc or q back" in text
    press(watching, "escape")
    assert "▸ ✗ test_double_is_twice_as_much[5]" in watching.screen()


def test_every_test_of_every_kata_is_found():
    """By the name that pytest gives it."""
    checkout = checkouts.Checkout(checkouts.REPOSITORY)
    for kata in load_catalog(checkout).katas:
        for file in checkout.test_files(kata.name):
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("def test_"):
                    name = line[4:].partition("(")[0]
                    found = one_test.test_source(checkout, Outcome(f"{name}[x-1]", kata.name, 1, "failed"))
                    assert found
                    assert f"def {name}(" in found.text


def test_a_test_without_a_source_is_shown_without_it(watching):
    """A file that was not imported has no test to show."""
    watching.told(Outcome("test_1_core.py", "tiny", 0, "error", "answers/tiny.py, line 1: invalid syntax"))
    press(watching, "t", "enter")
    assert "answers/tiny.py, line 1: invalid syntax" in watching.screen()


def test_the_list_of_tests_is_a_page_that_scrolls_with_the_chosen_one(watching):
    """In a window with room for few lines."""
    many = [Outcome(f"test_{number}", "tiny", 1, "failed", "no") for number in range(40)]
    watching.told(*many)
    press(watching, "t", "end")
    assert "▸ ✗ test_39" in watching.screen()
    press(watching, "home")
    assert "stage 1  the definition" in watching.screen()
    for _ in range(25):
        press(watching, "down")
        watching.screen()
    assert "▸ ✗ test_25" in watching.screen()
    watching.told(*many[:3])  # a verdict that comes meanwhile
    assert "▸ ✗ test_2" in watching.screen()


# What the code prints


def test_what_was_printed_stands_below_the_failure(watching):
    """Under a heading of its own; that of the failure on the screen, else of the import, else of the first test."""
    printing = [Outcome(o.test, "tiny", o.stage, o.verdict, o.message, 0.1, f"in {o.test}\n") for o in FAILURES]
    watching.told(*printing)
    text = watching.screen()
    assert "Printed in test_double_is_twice_as_much[5]\n in test_double" in text.replace(" \n", "\n")
    press(watching, "f")
    assert "in test_a_negative_number_is_an_error" in words(watching.screen())
    watching.start_run()
    watching.told(*FAILURES, printed="hello\n")
    assert "Printed while the file was imported hello" in words(watching.screen())
    watching.start_run()
    watching.told(*FAILURES[:2], printing[2])
    assert "Printed in test_shift_moves_up in test_shift_moves_up" in words(watching.screen())
    watching.start_run()
    watching.told(*FAILURES)
    assert "Printed" not in watching.screen()


def test_much_that_was_printed_is_cut_to_the_screen(watching):
    """The failure stays in sight, and the rest can be scrolled to. Codes that move the cursor do nothing."""
    text = "\x1b[2J" + "".join(f"step {number}\n" for number in range(500))
    watching.told(Outcome("test_a", "tiny", 1, "failed", "wrong", 0.1, text))
    lines = watching.screen().splitlines()
    assert len(lines) == 24
    assert "✗ test_a" in lines[3]
    assert "step 3" in "\n".join(lines)
    assert "more: arrow down" in "\n".join(lines)
    assert "q quit" in lines[-1]
    assert "\x1b[2J" not in watching.screen()
    press(watching, "end")
    assert "step 499" in watching.screen()


def test_a_page_covers_what_was_printed(watching):
    """A hint is read without it."""
    watching.told(Outcome("test_a", "tiny", 1, "failed", "wrong", 0.1, "noise"))
    watching.open_page(Page(lambda: ["calm"]))
    assert "noise" not in watching.screen()


def test_the_keys_of_watch_fit_into_one_line():
    """At 80 columns."""
    assert len(" " + "".join(f"{key} {does}  " for key, does in view.KEYS.items()).rstrip()) <= 80


def test_a_long_line_of_code_goes_on_further_to_the_right():
    """So that one sees where the lines of the file begin."""
    text = "def f():\n    return aaaa + bbbb + cccc + dddd\n\n\n+    x = aaaa + bbbb + cccc + dddd"
    lines = FakeTerminal(26, 24).lines(screen.code(FakeTerminal(26, 24), text))
    assert [line.rstrip() for line in lines] == [
        " def f():",
        "     return aaaa + bbbb +",
        "         cccc + dddd",
        "",
        "",
        " +    x = aaaa + bbbb +",
        "          cccc + dddd",
    ]
