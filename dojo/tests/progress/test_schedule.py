"""When a kata is to be solved again: the rating of each attempt, the library's schedule, and what the commands say."""

import json
import os
import subprocess
import sys
import time
from functools import partial

import pytest
from click.testing import CliRunner

from dojo.cli import main
from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.engine.pool import run_forked
from dojo.progress.attempts import read_attempts
from dojo.progress.database import connect
from dojo.progress.schedule import due_dates, read_reviews
from dojo.tests.checkouts import REPOSITORY, add_kata, pytest_in, solve
from dojo.tests.progress.made_up_history import NOON, Past

DAY = 86400.0


@pytest.fixture
def past(checkout):
    """A made-up history that begins on Monday, 9 March 2026 at noon. `tiny` is given five minutes."""
    return Past(checkout)


def rated(checkout, catalog):
    return [(review.word, review.why) for review in read_reviews(checkout, catalog)]


def kata(*arguments):
    return CliRunner().invoke(main.main, arguments)


# The rating


@pytest.mark.parametrize(
    ("minutes", "hints", "expected"),
    [
        (2, 0, ("Easy", "2 min of 5, no hint")),
        (4, 0, ("Good", "4 min of 5, no hint")),
        (7, 0, ("Good", "7 min of 5, no hint")),
        (8, 0, ("Hard", "8 min of 5, no hint")),
        (2, 1, ("Hard", "2 min of 5, 1 hint")),
        (4, 3, ("Hard", "4 min of 5, 3 hints")),
    ],
)
def test_time_and_hints_make_the_rating(checkout, catalog, past, minutes, hints, expected):
    """Against the minutes that the catalogue gives: five."""
    past.solve("tiny", minutes, hints=hints)
    assert rated(checkout, catalog) == [expected]


@pytest.mark.parametrize("how", ["test", "watch"])
def test_however_the_tests_ran_the_rating_is_the_same(checkout, catalog, past, how):
    """Nothing has to be called when a kata is solved."""
    past.solve("tiny", how=how)
    assert rated(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_plain_pytest_counts_too(checkout, catalog):
    """The trainer is a cockpit; pytest is the engine. How long the writing took before the only run, nobody knows."""
    solve(checkout)
    assert pytest_in(checkout, "tests/test_tiny.py").code == 0
    assert rated(checkout, catalog) == [("Good", "no hint, time unknown")]


def test_giving_up_is_again_and_solving_it_then_changes_nothing(checkout, catalog, past):
    """To copy an answer is no repetition; one attempt gives one review."""
    past.run("tiny", "pf", "ff").wait(minutes=1).event("tiny", "solution")
    assert rated(checkout, catalog) == [("Again", "solution seen first")]
    past.wait(minutes=1).run("tiny", "pp", "pp")
    assert len(rated(checkout, catalog)) == 1


def test_looking_afterwards_and_breaking_it_again_changes_nothing(checkout, catalog, past):
    """The first solving decides."""
    past.solve("tiny").wait(minutes=1).event("tiny", "hint").run("tiny", "pf", "pp").wait(days=1).run(
        "tiny", "pp", "pp"
    )
    assert rated(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_after_again_a_look_before_solving_is_giving_up(checkout, catalog, past):
    """The solution opens by itself once a kata was ever solved; whoever peeks repeats nothing from memory."""
    past.solve("tiny")
    assert kata("solution", "tiny").exit_code == 0
    assert kata("again", "tiny").exit_code == 0
    assert rated(checkout, catalog) == [("Good", "4 min of 5, no hint")]
    assert kata("solution", "tiny").exit_code == 0
    assert [word for word, _ in rated(checkout, catalog)] == ["Good", "Again"]


def test_nothing_is_rated_before_it_is_decided(checkout, catalog, past):
    """Failing runs, chosen tests, an untouched stub: the attempt goes on."""
    past.run("tiny", "nn", "nn").wait(minutes=1).run("tiny", "pp", "pf").run("tiny", "pp", complete=False)
    assert rated(checkout, catalog) == []


@pytest.mark.parametrize(("points", "word"), [(49.9, "Again"), (50, "Hard"), (74, "Hard"), (75, "Good"), (95, "Easy")])
def test_a_drill_is_rated_by_its_points(checkout, catalog, past, points, word):
    """Time and hints are in the points already."""
    past.session("tiny", points)
    assert rated(checkout, catalog) == [(word, f"{points:.0f} of 100 points")]


def test_drills_left_open_and_hunts_are_not_rated(checkout, catalog, past):
    """No verdict, or of another skill."""
    past.session("tiny", None).session("tiny", 80, kind="hunt").session("gone", 80).session("tiny", 60, ended=False)
    past.solve("tiny")  # which makes it look at the sessions, too
    assert rated(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_a_mock_interview_is_its_parts(checkout, catalog, past):
    """They have rows of their own; the round would count twice."""
    past.session("tiny", 80).session("", 70, kind="mock")
    assert [attempt.kind for attempt in read_attempts(checkout)] == ["drill"]
    assert rated(checkout, catalog) == [("Good", "80 of 100 points")]


# The schedule


def test_the_better_it_went_the_later_it_comes_back(checkout, past):
    """A day at least: nobody solves a kata again after ten minutes."""
    for name in ("easy", "good", "hard", "seen"):
        add_kata(checkout, name)
    past.event("seen", "hint").event("seen", "solution").solve("hard", 9).solve("good", 4).solve("easy", 2)
    schedule = due_dates(checkout, load_catalog(checkout))
    days = {due.kata.name: humanize.days_until(due.at, past.now) for due in schedule}
    assert days["seen"] == days["hard"] == 1 < days["good"] < days["easy"]


def test_success_after_success_moves_it_further_away(checkout, catalog, past):
    """And a failure brings it back; the card is the library's own JSON."""
    waits = []
    for _ in range(4):
        past.event("tiny", "reset").solve("tiny")
        (due,) = due_dates(checkout, catalog)
        waits.append(humanize.days_until(due.at, past.now))
        past.wait(days=waits[-1])
    assert waits == sorted(set(waits))
    past.event("tiny", "reset").event("tiny", "solution")
    (due,) = due_dates(checkout, catalog)
    assert humanize.days_until(due.at, past.now) < waits[-1]
    with connect(checkout) as db:
        card = json.loads(db.execute("SELECT card FROM card").fetchone()[0])
    assert card["stability"] > 0


def test_asking_again_changes_nothing(checkout, catalog, past):
    """The schedule is worked out from what is recorded, in one way, however often and by however many processes."""
    past.solve("tiny").wait(days=3).session("tiny", 80)
    asked = [answer for _, answer in run_forked([partial(due_dates, checkout, catalog)] * 4, jobs=4, seconds=30)]
    assert asked[0] == asked[1] == asked[2] == asked[3] == due_dates(checkout, catalog)
    with connect(checkout) as db:
        assert db.execute("SELECT count(*) FROM review").fetchone() == (2,)


def test_a_review_stays_as_it_was_given(checkout, past):
    """A catalogue with other minutes rates what comes, not what was."""
    past.solve("tiny", 4)
    before = due_dates(checkout, load_catalog(checkout))[0]
    checkout.catalog.write_text(checkout.catalog.read_text().replace("minutes = 5", "minutes = 50"))
    after = due_dates(checkout, load_catalog(checkout))[0]
    assert (after.last.rating, after.at) == (before.last.rating, before.at)


def test_a_kata_is_due_from_the_morning_of_its_day(checkout, catalog, past):
    """Not from the minute at which it was solved."""
    past.solve("tiny")
    (due,) = due_dates(checkout, catalog)
    morning = humanize.local(due.at).replace(hour=0, minute=1).timestamp()
    assert due.is_now(morning)
    assert not due.is_now(morning - 120)


def test_without_the_library_a_sentence(checkout, catalog, past, monkeypatch):
    """And the list still works."""
    past.solve("tiny")
    monkeypatch.setitem(sys.modules, "fsrs", None)
    with pytest.raises(UserError, match="pip install"):
        due_dates(checkout, catalog)
    assert kata("list").exit_code == 0


# due


def test_nothing_solved_means_nothing_to_repeat(checkout):
    """And says what to do."""
    assert kata("due").output == (
        "Nothing to repeat yet: a kata is scheduled once you have solved it. Something new: kata show tiny\n"
    )


def test_due_shows_what_is_overdue_first_then_the_next_days(checkout, monkeypatch):
    """What, since when, why, and the one command."""
    for name in ("older", "newer", "later"):
        add_kata(checkout, name)
    past = Past(checkout).solve("older", 9).wait(days=2).solve("tiny", 9).wait(days=1).solve("newer").solve("later", 2)
    monkeypatch.setattr(time, "time", lambda: past.now)
    *_, newer, later = due_dates(checkout, load_catalog(checkout))
    lines = kata("due").output.splitlines()
    assert lines[0] == "2 katas are due"
    assert lines[3].split() == ["older", "for", "2", "days", "9", "Mar", "Hard", "9", "min", "of", "5,", "no", "hint"]
    assert lines[4].split()[:2] == ["tiny", "today"]
    assert lines[6] == "In the next days"
    assert lines[9].split()[:4] == ["newer", *humanize.when_due(newer.at, past.now).split()]
    when = f"{humanize.day(later.at, past.now)} ({humanize.when_due(later.at, past.now)})"
    assert lines[11] == f"And 1 kata later, the first on {when}."
    assert lines[-1] == "From memory, on a fresh stub: kata again older"
    assert "2 katas are due for repetition: kata due" in kata("list").output


def test_when_nothing_is_due_the_next_day_is_told(checkout, monkeypatch):
    """And that the list stays silent."""
    past = Past(checkout).solve("tiny")
    monkeypatch.setattr(time, "time", lambda: past.now)
    output = kata("due").output
    (due,) = due_dates(checkout, load_catalog(checkout))
    assert output.startswith("Nothing is due today.")
    assert output.endswith(f"Next: tiny, {humanize.when_due(due.at, past.now)}.\n")
    assert "due for repetition" not in kata("list").output


def test_solving_says_the_rating_why_and_when(checkout):
    """The whole way: read, write, test."""
    assert kata("show", "tiny").exit_code == 0
    solve(checkout)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST"))}
    run = subprocess.run(
        [sys.executable, "-m", "dojo.cli.main", "test", "tiny"],
        env={**kept, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "tiny is rated Easy (< 1 min of 5, no hint). To solve again: in " in run.stdout, run.stdout + run.stderr


# again


def test_again_archives_the_attempt_and_brings_the_stub_back(checkout):
    """Nothing that was written is lost, and progress begins anew."""
    solve(checkout)
    mine = checkout.stub("tiny").read_bytes()
    Past(checkout).solve("tiny")
    output = kata("again", "tiny").output
    (copy,) = (checkout.state / "archive").glob("tiny-*.py")
    assert copy.read_bytes() == mine
    assert checkout.shown(copy) in output
    assert output.endswith("From memory: kata watch tiny\n")
    assert "write me" in checkout.stub("tiny").read_text()
    assert "not started" in kata("list").output
    assert "There was no attempt to put aside." in kata("again", "tiny").output
    assert len(list((checkout.state / "archive").iterdir())) == 1


# history


def test_history_without_attempts_says_where_to_begin(checkout):
    """Both pages."""
    assert kata("history").output == "No attempt is recorded yet. Begin: kata list\n"
    assert "No attempt is recorded yet. Begin: kata show tiny" in kata("history", "tiny").output
    assert "Did you mean tiny?" in kata("history", "tinny").output


def test_history_has_a_line_for_each_attempt_newest_first(checkout, monkeypatch):
    """When, how, tests, stages, minutes, hints, rating; under it the named mistakes. Plain into a pipe."""
    past = Past(checkout).solve("tiny").wait(days=2).event("tiny", "reset").wait(minutes=3)
    past.run("tiny", "pf", "ff", how="watch", named=["moves [down]"]).wait(days=1).session("tiny", 80, hints=1)
    monkeypatch.setattr(time, "time", lambda: past.now)
    lines = kata("history").output.splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["when", "kata", "how", "tests", "stage", "min", "hints", "rated"],
        ["12", "Mar", "12:07", "tiny", "drill", "4/4", "■■", "20", "1", "Good"],
        ["11", "Mar", "12:04", "tiny", "watch", "1/4", "□□", "3", "-"],
        ["moves", "[down]"],
        ["9", "Mar", "12:00", "tiny", "test", "4/4", "■■", "4", "-", "Good"],
    ]
    assert not any(line != line.rstrip() or len(line) > 80 for line in lines)


def test_history_shows_twenty_unless_told(checkout, monkeypatch):
    """And says how to see the rest."""
    past = Past(checkout)
    for _ in range(23):
        past.event("tiny", "reset").solve("tiny").wait(days=1)
    monkeypatch.setattr(time, "time", lambda: past.now)
    output = kata("history").output
    assert output.count(" tiny ") == 20
    assert "3 older attempts: kata history --all" in output
    assert kata("history", "--all").output.count(" tiny ") == 23


def test_the_page_of_one_kata_has_its_runs(checkout, monkeypatch):
    """Runs in a row that say the same share a line: a watcher records every save."""
    past = Past(checkout).event("tiny", "show").wait(minutes=1)
    for _ in range(3):
        past.run("tiny", "pf", "ff", how="watch", named=["moves down"]).wait(minutes=1)
    past.run("tiny", "pp", complete=False).wait(minutes=1).run("tiny", "pp", "pp")
    monkeypatch.setattr(time, "time", lambda: past.now)
    output = kata("history", "tiny").output
    assert "1. Mon 9 Mar 12:00  solved  watch, 5 min, 0 hints" in output
    assert "rated Good: 5 min of 5, no hint" in output
    assert "12:01-12:03       1/4  □□    3 runs" in output
    assert "Your result is exactly what you get when moves down." in output
    assert "chosen tests only" in output
    (due,) = due_dates(checkout, load_catalog(checkout))
    when = f"{humanize.when_due(due.at, past.now)}, {humanize.day(due.at, past.now)}"
    assert f"Due {when}. On a fresh stub: kata again tiny" in output


def test_trouble_with_the_history_is_a_sentence(checkout):
    """Not a traceback."""
    checkout.state.write_text("in the way")
    for command in ("due", "history", "report"):
        result = kata(command)
        assert result.exit_code == 2, command
        assert "progress is not recorded" in result.stderr


def test_noon_is_a_monday():
    """What the expected days above count from."""
    assert humanize.day(NOON, NOON) == "Mon 9 Mar"
    assert humanize.day(NOON, NOON + 365 * DAY) == "Mon 9 Mar 2026"
