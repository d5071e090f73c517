"""A drill is no open book: what explains a failure is bought as a hint is, and told at the end."""

import pytest

from dojo.core.outcome import Diagnosis, hint_line, why_line
from dojo.engine.messages import Diagnosed, Verdict
from dojo.practice.drill import grading
from dojo.practice.drill.closed_book import split
from dojo.progress.attempts import read_attempts
from dojo.progress.session_state import StageResult
from dojo.tests.practice.drill_without_terminal import FINISH, Room, outcomes, press

SQUARES = Diagnosis("squares", "x is multiplied by itself", True)
MESSAGE = "double(5) should be 10, but is 25\nhint: add x to itself\nand not x times"
NAMED = "exactly what you get when x is multiplied by itself"


@pytest.fixture
def room(checkout, monkeypatch):
    return Room(checkout, monkeypatch)


@pytest.fixture
def app(room):
    """A drill of five minutes on `tiny`, which has two stages, three hints and one follow-up question."""
    return room.drill()


def words(room, app):
    return " ".join(room.screen(app).split())


@pytest.mark.parametrize(
    ("message", "at_once", "kept_back"),
    [
        ("a\nb\nhint: c\nd", "a\nb", "hint: c\nd"),
        ("raised ValueError\nwhy it is tested: c", "raised ValueError", "why it is tested: c"),
        ("a", "a", ""),
        ("", "", ""),
    ],
)
def test_a_message_ends_with_its_explanation(message, at_once, kept_back):
    """The hint of a check, or why a test is there."""
    assert split(message) == (at_once, kept_back)


@pytest.mark.parametrize(("say", "english"), [(why_line, "why it is tested: c"), (hint_line, "hint: c")])
def test_what_explains_is_kept_back_in_every_language(monkeypatch, say, english):
    """It is a line of its own, the last one. A session may hold messages from when its reader read English."""
    monkeypatch.setenv("KATA_LANG", "zh")
    assert say("c") != english
    for line in (say("c"), english):
        assert split(f"raised\n{line}") == ("raised", line)


def test_a_failure_says_what_is_expected_and_not_why(room, app):
    """Neither its hint nor the mistake that was named; the footer has the price."""
    room.answer(app, "ppf", message=MESSAGE, diagnoses=[SQUARES])
    screen = words(room, app)
    assert "double(5) should be 10, but is 25" in screen
    assert "hint:" not in screen
    assert NAMED not in screen
    assert "h hint (-5) x explain (-5)" in screen


def test_an_explanation_is_bought_as_a_hint_is(room, app):
    """It costs the same and is recorded, and the same one again costs nothing, also after the drill was left."""
    room.answer(app, "ppf", message=MESSAGE, diagnoses=[SQUARES])
    press(app, "x")
    screen = words(room, app)
    assert "hint: add x to itself and not x times" in screen
    assert NAMED in screen
    press(app, "x")
    assert "There is no more about this failure." in words(room, app)
    assert [event for event in room.events(app) if event[1] == "hint"] == [(0, "hint", "on test_1_2")]
    room.write(app, "x = 1\n")
    room.answer(app, "ppf", message=MESSAGE)
    assert "hint: add x to itself" in words(room, app)
    press(app, "q")
    app = room.resume(app)
    room.answer(app, "ppf", message=MESSAGE, diagnoses=[SQUARES])
    assert NAMED in words(room, app)
    press(app, "h", *FINISH)
    room.answer(app, "ppp", "pp")
    press(app, "enter", "3")
    assert app.session.points == 100 - 2 * grading.HINT_POINTS
    assert "2 hints (-10 points)" in words(room, app)
    (attempt,) = read_attempts(room.checkout, "tiny")
    assert attempt.hints == 2


def test_a_mistake_that_is_named_later_is_in_the_price(room, app):
    """The comparison goes on after the verdict. Another failure costs again."""
    number = app.forkserver.jobs[-1].number
    app.handle_message(Verdict(number, outcomes("ppf", message=MESSAGE), {"tiny": 3}, "digest", 0.1))
    press(app, "x")
    assert "hint: add x to itself" in words(room, app)
    assert NAMED not in words(room, app)
    app.handle_message(Diagnosed(number, (SQUARES,)))
    assert NAMED in words(room, app)
    room.write(app, "x = 1\n")
    room.answer(app, "pfp", message="other\nhint: another")
    assert "another" not in words(room, app)
    press(app, "x")
    assert "hint: another" in words(room, app)
    assert app.state.hints_paid == 2


def test_nothing_is_charged_where_there_is_nothing_to_explain(room, app):
    """No failure, one without a hint, or one whose mistake may still be named."""
    press(app, "x")
    assert "No test fails, so there is nothing to explain." in words(room, app)
    number = app.forkserver.jobs[-1].number
    app.handle_message(Verdict(number, outcomes("ppf", message="no"), {"tiny": 3}, "digest", 0.1))
    press(app, "x")
    assert "Mistakes are still being compared; try again." in words(room, app)
    app.handle_message(Diagnosed(number, ()))
    press(app, "x")
    assert "There is no more about this failure." in words(room, app)
    assert app.state.hints_paid == 0


def test_all_is_told_on_the_last_page(room, app):
    """The hints of what failed in the end, and every mistake that was named, also in the final run."""
    room.answer(app, "ppf", message=MESSAGE, diagnoses=[SQUARES])
    press(app, *FINISH)
    assert app.forkserver.jobs[-1].diagnose
    room.answer(app, "pff", "ff", message=MESSAGE, diagnoses=[SQUARES, Diagnosis("moves down", "it falls", False)])
    press(app, "enter", "0")
    page = " ".join("\n".join(app.last_page()).split())
    assert f"The first mistake: squares. Your result is {NAMED}." in page
    assert "Then: moves down. Part of your result is exactly what you get when it falls." in page
    assert page.count("squares.") == 1
    assert "✗ test_1_1 double(5) should be 10, but is 25 hint: add x to itself" in page
    assert "✗ test_2_0" in page
    assert "1 more test fails." in page
    assert room.resume(app).last_page() == app.last_page()


# Nothing answered gives nothing


def test_missed_follow_ups_give_nothing(room, app):
    """0 of 3 each."""
    press(app, *FINISH)
    room.answer(app, "ppp", "pp")
    press(app, "enter", "4")
    assert app.phase == "answered"
    press(app, "0")
    assert "follow-ups 0 of 3" in words(room, app)


def test_later_stages_give_nothing_without_the_first():
    """Functions that always raise an exception pass the tests of argument checks."""
    results = [StageResult(1, 0, 3, None), StageResult(2, 15, 20, None)]
    assert grading.points(results, 0) == 0
    assert grading.stage_points(results) == [0, 0]
    assert grading.points([StageResult(1, 1, 4, None), *results[1:]], 0) > 0
