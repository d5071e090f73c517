"""Before a clock starts, a page says what comes and waits for a key; leaving it records nothing."""

import pytest

from dojo.core.catalog import load_catalog
from dojo.practice import actions, interview, rounds
from dojo.practice.hunt import start
from dojo.practice.hunt.plant import SourceTester
from dojo.practice.start_page import StartPage, wants_to_begin
from dojo.progress.attempts import read_attempts
from dojo.progress.sessions import SessionLog
from dojo.tests.checkouts import add_kata, record, solve
from dojo.tests.practice.drill_without_terminal import FakeTerminal, Room, press

PAGE = StartPage("A drill", ("Five minutes.",))
ASKING = StartPage("A hunt", ("Five minutes.",), "Begin all the same?")


class TypingTerminal(FakeTerminal):
    """Presses the next of `keys` whenever something was drawn, and keeps every screen."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.waiting, self.screens = list(keys), []

    def draw(self, lines):
        super().draw(lines)
        self.screens.append(" ".join(self.screen.split()))
        if self.waiting:
            self.typed.send(self.waiting.pop(0))


@pytest.mark.parametrize(
    ("page", "keys", "begins"),
    [
        (PAGE, ["x", "f", "h", "enter"], True),
        (PAGE, ["x", "q"], False),
        (PAGE, ["escape"], False),
        (ASKING, ["y", "e", "s", "enter"], True),
        (ASKING, ["enter"], False),
        (ASKING, ["y", "e", "enter"], False),
        (ASKING, ["x"], False),
        (ASKING, ["q"], False),
    ],
)
def test_only_enter_starts_the_clock(page, keys, begins):
    """After the word yes, if the page asks for it."""
    assert wants_to_begin(TypingTerminal(*keys), page) is begins


def test_what_was_typed_before_the_page_does_nothing():
    """While bugs are planted, say."""
    terminal = TypingTerminal("q")
    terminal.typed.send("enter")
    assert not wants_to_begin(terminal, PAGE)


def test_the_page_says_its_keys():
    """What Enter and q do; what is typed of the answer."""
    terminal = TypingTerminal("q")
    wants_to_begin(terminal, PAGE)
    assert "Enter starts the clock q leave; nothing is recorded" in terminal.screens[-1]
    terminal = TypingTerminal("y", "e", "q")
    wants_to_begin(terminal, ASKING)
    assert "Begin all the same? Type yes and Enter; any other key goes back. ye" in terminal.screens[-1]


# Hunts


def new_hunt(checkout, kata, *keys, monkeypatch):
    """A hunt with these keys typed on its page: the session, or None; and what the page said."""
    log = SessionLog(checkout)
    monkeypatch.setattr(
        SourceTester, "fails", lambda self, source, test: "x * 2" not in source or "x + by" not in source
    )
    terminal = TypingTerminal("", *keys)  # the first thing drawn is that bugs are planted
    return start.new_hunt(log, kata, 1, 1, None, terminal), terminal.screens[-1]


def test_a_hunt_asks_before_it_shows_the_reference_of_an_unsolved_kata(checkout, catalog, monkeypatch):
    """Left there, nothing is written. Begun, it is recorded as a look at the solution."""
    kata = catalog["tiny"]
    session, screen = new_hunt(checkout, kata, "enter", monkeypatch=monkeypatch)
    assert session is None
    assert "You have not solved tiny, and a hunt shows its reference" in screen
    assert not (checkout.state / "hunts").exists()
    assert SessionLog(checkout).sessions() == []
    assert read_attempts(checkout) == []
    session, _ = new_hunt(checkout, kata, "y", "e", "s", "enter", monkeypatch=monkeypatch)
    assert session.file.is_file()
    assert [attempt.state for attempt in read_attempts(checkout) if attempt.kind == "practice"] == ["gave up"]


def test_a_hunt_in_a_solved_kata_only_waits_for_enter(checkout, catalog, monkeypatch):
    """Unless it is being solved again."""
    solve(checkout)
    record(checkout, "tiny", "passed")
    session, screen = new_hunt(checkout, catalog["tiny"], "enter", monkeypatch=monkeypatch)
    assert session
    assert "shows its reference" not in screen
    actions.reset(checkout, catalog["tiny"], print)
    session, screen = new_hunt(checkout, catalog["tiny"], "enter", monkeypatch=monkeypatch)
    assert session is None
    assert "You are solving tiny again, and a hunt shows its reference" in screen


def test_a_hunt_and_a_round_prefer_a_solved_kata(checkout):
    """The one hunted least recently of all, if none is solved."""
    for name in ("bit", "dot", "jot"):
        add_kata(checkout, name)
    catalog, log = load_catalog(checkout), SessionLog(checkout)
    assert start.choose(log, catalog).name == "tiny"
    unsolved = rounds.round_intro(checkout, catalog, rounds.plan_round(log, catalog, None))
    assert "The hunt shows the reference of dot, which you have not solved" in unsolved.sentences[-1]
    record(checkout, "jot", "passed")
    assert start.choose(log, catalog).name == "jot"
    parts = rounds.plan_round(log, catalog, None)
    assert [part.kata for part in parts] == ["tiny", "bit", "jot"]
    assert "The hunt shows" not in " ".join(rounds.round_intro(checkout, catalog, parts).sentences)


# Drills that are resumed


def test_a_resumed_drill_asks_before_its_clock_goes_on(checkout, catalog, monkeypatch):
    """At its follow-up questions no clock runs."""
    room = Room(checkout, monkeypatch)
    app = room.drill()
    room.wait(65, app)
    press(app, "q")
    terminal = TypingTerminal("q")
    assert not interview._goes_on(catalog, app.session, terminal)
    assert "3:55 of 5 minutes are left." in terminal.screens[-1]
    app.state.phase = "asking"
    assert interview._goes_on(catalog, app.session, TypingTerminal())
