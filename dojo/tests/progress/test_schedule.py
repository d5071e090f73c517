"""The rating of each attempt, the dates that FSRS gives, and the commands that show them."""

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


def ratings(checkout, catalog):
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
    assert ratings(checkout, catalog) == [expected]


@pytest.mark.parametrize("how", ["test", "watch"])
def test_the_rating_does_not_depend_on_how_the_tests_were_run(checkout, catalog, past, how):
    """`kata test` and `kata watch` record the same runs."""
    past.solve("tiny", how=how)
    assert ratings(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_plain_pytest_counts_too(checkout, catalog):
    """The plugin records the run. The time is unknown, because the file was edited before the first event."""
    solve(checkout)
    assert pytest_in(checkout, "tests/tiny").code == 0
    assert ratings(checkout, catalog) == [("Good", "no hint, time unknown")]


def test_giving_up_is_again_and_solving_it_then_changes_nothing(checkout, catalog, past):
    """One attempt gives one review, and copying an answer is no success."""
    past.run("tiny", "pf", "ff").wait(minutes=1).event("tiny", "solution")
    assert ratings(checkout, catalog) == [("Again", "solution seen first")]
    past.wait(minutes=1).run("tiny", "pp", "pp")
    assert len(ratings(checkout, catalog)) == 1


def test_what_happens_after_solving_changes_nothing(checkout, catalog, past):
    """The first solving decides."""
    past.solve("tiny").wait(minutes=1).event("tiny", "hint").run("tiny", "pf", "pp").wait(days=1).run(
        "tiny", "pp", "pp"
    )
    assert ratings(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_after_again_a_look_before_solving_is_giving_up(checkout, catalog, past):
    """The solution of a kata that was ever solved opens without --give-up, but looking at it is still rated Again."""
    past.solve("tiny")
    assert kata("solution", "tiny").exit_code == 0
    assert kata("again", "tiny").exit_code == 0
    assert ratings(checkout, catalog) == [("Good", "4 min of 5, no hint")]
    assert kata("solution", "tiny").exit_code == 0
    assert [word for word, _ in ratings(checkout, catalog)] == ["Good", "Again"]


def test_nothing_is_rated_before_it_is_decided(checkout, catalog, past):
    """Failing runs, chosen tests, an untouched stub: the attempt goes on."""
    past.run("tiny", "nn", "nn").wait(minutes=1).run("tiny", "pp", "pf").run("tiny", "pp", complete=False)
    assert ratings(checkout, catalog) == []


@pytest.mark.parametrize(("points", "word"), [(49.9, "Again"), (50, "Hard"), (74, "Hard"), (75, "Good"), (95, "Easy")])
def test_a_drill_is_rated_by_its_points(checkout, catalog, past, points, word):
    """Time and hints are in the points already."""
    past.session("tiny", points)
    assert ratings(checkout, catalog) == [(word, f"{points:.0f} of 100 points")]


def test_drills_left_open_and_hunts_are_not_rated(checkout, catalog, past):
    """A drill without points has no verdict, and a hunt trains another skill."""
    past.session("tiny", None).session("tiny", 80, kind="hunt").session("gone", 80).session("tiny", 60, ended=False)
    past.solve("tiny")  # which makes it look at the sessions, too
    assert ratings(checkout, catalog) == [("Good", "4 min of 5, no hint")]


def test_a_mock_interview_is_its_parts(checkout, catalog, past):
    """The parts have rows of their own, so the round itself must not count."""
    past.session("tiny", 80).session("", 70, kind="mock")
    assert [attempt.kind for attempt in read_attempts(checkout)] == ["drill"]
    assert ratings(checkout, catalog) == [("Good", "80 of 100 points")]


def test_an_answer_that_was_brought_back_is_no_new_solve(checkout, catalog, past):
    """Restored from the archive and changed a little, it is the attempt that was rated before."""
    past.solve("tiny").wait(days=3).event("tiny", "reset", "x").wait(minutes=1).run("tiny", "pp", "pp")
    past.wait(minutes=1).run("tiny", "pp", "pp", text="x and a comment")
    assert ratings(checkout, catalog) == [("Good", "4 min of 5, no hint")]
    past.wait(days=1).event("tiny", "reset", "x and a comment").wait(minutes=2).run("tiny", "pp", "pp", text="anew")
    assert [word for word, _ in ratings(checkout, catalog)] == ["Good", "Easy"]


# The schedule


def test_the_better_it_went_the_later_it_comes_back(checkout, past):
    """After a day at least: the library's steps of minutes are switched off."""
    for name in ("easy", "good", "hard", "seen"):
        add_kata(checkout, name)
    past.event("seen", "hint").event("seen", "solution").solve("hard", 9).solve("good", 4).solve("easy", 2)
    schedule = due_dates(checkout, load_catalog(checkout))
    days = {due.kata.name: humanize.days_until(due.at, past.now) for due in schedule}
    assert days["seen"] == days["hard"] == 1 < days["good"] < days["easy"]


def test_success_after_success_moves_it_further_away(checkout, catalog, past):
    """And giving up brings it nearer. The stored card is the library's JSON."""
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
    """Each attempt is rated once, also when several processes ask at the same time."""
    past.solve("tiny").wait(days=3).session("tiny", 80)
    answers = [answer for _, answer in run_forked([partial(due_dates, checkout, catalog)] * 4, jobs=4, seconds=30)]
    assert answers == [due_dates(checkout, catalog)] * 4
    with connect(checkout) as db:
        assert db.execute("SELECT count(*) FROM review").fetchone() == (2,)


def test_a_clock_that_was_a_year_ahead_stops_no_rating(checkout, catalog, past):
    """What was solved then is due today; solved again by the right clock, it is rated and scheduled from now."""
    now = past.now = time.time()
    past.wait(days=365).solve("tiny")
    (due,) = due_dates(checkout, catalog)
    assert due.is_now(now)
    past.now = now
    past.event("tiny", "reset").wait(minutes=1).event("tiny", "hint").wait(minutes=1).solve("tiny")
    (due,) = due_dates(checkout, catalog)
    assert due.last.word == "Hard"
    assert 0 < humanize.days_until(due.at, now) < 60
    past.wait(minutes=9).event("tiny", "reset").event("tiny", "solution").wait(minutes=5)
    (due,) = due_dates(checkout, catalog)
    assert due.last.word == "Again"
    for command in ("due", "history", "history tiny", "report"):
        assert kata(*command.split()).exit_code == 0


def test_the_sentence_of_a_date_fits_the_past_and_the_future():
    """ "Due 3 days overdue" is no English."""
    sentences = [humanize.due_sentence(NOON + days * 86400, NOON) for days in (-3, -1, 0, 1, 5)]
    assert [sentence.rpartition(",")[0] for sentence in sentences] == [
        "It was due 3 days ago",
        "It was due 1 day ago",
        "It is due today",
        "It is due tomorrow",
        "It is due in 5 days",
    ]


def test_a_stored_rating_does_not_change(checkout, past):
    """Changing the catalogue's minutes changes later ratings only."""
    past.solve("tiny", 4)
    before = due_dates(checkout, load_catalog(checkout))[0]
    description = checkout.description("tiny")
    description.write_text(description.read_text().replace("minutes = 5", "minutes = 50"))
    after = due_dates(checkout, load_catalog(checkout))[0]
    assert (after.last.rating, after.at) == (before.last.rating, before.at)


def test_a_kata_is_due_from_midnight_of_its_day(checkout, catalog, past):
    """Not from the minute at which it was solved."""
    past.solve("tiny")
    (due,) = due_dates(checkout, catalog)
    morning = humanize.local(due.at).replace(hour=0, minute=1).timestamp()
    assert due.is_now(morning)
    assert not due.is_now(morning - 120)


def test_without_the_library_a_sentence(checkout, catalog, past, monkeypatch):
    """The list of katas still works."""
    past.solve("tiny")
    monkeypatch.setitem(sys.modules, "fsrs", None)
    with pytest.raises(UserError, match="pip install"):
        due_dates(checkout, catalog)
    assert kata("list").exit_code == 0


# due


def test_nothing_solved_means_nothing_to_repeat(checkout):
    """The sentence names the next command."""
    assert kata("due").output == (
        "Nothing to repeat yet: a kata is scheduled once you have solved it. Something new: kata show tiny\n"
    )


def test_due_shows_what_is_overdue_first_then_the_next_days(checkout, monkeypatch):
    """Kata, date, rating, reason, and the command to start."""
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


def test_when_nothing_is_due_the_next_day_is_shown(checkout, monkeypatch):
    """The list of katas then has no line about repetition."""
    past = Past(checkout).solve("tiny")
    monkeypatch.setattr(time, "time", lambda: past.now)
    output = kata("due").output
    (due,) = due_dates(checkout, load_catalog(checkout))
    assert output.startswith("Nothing is due today.")
    assert output.endswith(f"Next: tiny, {humanize.when_due(due.at, past.now)}.\n")
    assert "due for repetition" not in kata("list").output


def test_solving_prints_the_rating_its_reason_and_the_next_date(checkout):
    """Read the question, write an answer, run its tests."""
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


def test_again_archives_the_attempt_and_restores_the_stub(checkout):
    """The archived copy is the learner's file, and the kata stays solved."""
    solve(checkout)
    mine = checkout.answer("tiny").read_bytes()
    Past(checkout).solve("tiny")
    output = kata("again", "tiny").output
    (copy,) = (checkout.state / "archive").glob("tiny-*.py")
    assert copy.read_bytes() == mine
    assert checkout.shown(copy) in output
    assert output.endswith("From memory: kata watch tiny\n")
    assert "write me" in checkout.answer("tiny").read_text()
    assert "1 of 1 katas solved" in kata("list").output
    assert "There was no attempt to put aside." in kata("again", "tiny").output
    assert len(list((checkout.state / "archive").iterdir())) == 1


def test_the_archived_answer_brought_back_is_no_new_solve(checkout, catalog):
    """By the commands: `kata again`, then the copy in its place."""
    solve(checkout)
    pytest_in(checkout, "tests/tiny")
    assert kata("again", "tiny").exit_code == 0
    (copy,) = (checkout.state / "archive").glob("tiny-*.py")
    checkout.answer("tiny").write_bytes(copy.read_bytes())
    assert pytest_in(checkout, "tests/tiny").code == 0
    assert len(ratings(checkout, catalog)) == len(read_attempts(checkout)) == 1


# history


def test_history_without_attempts_says_where_to_begin(checkout):
    """On both pages."""
    assert kata("history").output == "No attempt is recorded yet. Begin: kata list\n"
    assert "No attempt is recorded yet. Begin: kata show tiny" in kata("history", "tiny").output
    assert "Did you mean tiny?" in kata("history", "tinny").output


def test_history_has_a_line_for_each_attempt_newest_first(checkout, monkeypatch):
    """Columns: when, how, tests, stages, minutes, hints, rating; below it the named mistakes. No colours into a pipe."""
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


def test_history_shows_twenty_attempts_by_default(checkout, monkeypatch):
    """The last line names the option for the older ones."""
    past = Past(checkout)
    for _ in range(23):
        past.event("tiny", "reset").solve("tiny").wait(days=1)
    monkeypatch.setattr(time, "time", lambda: past.now)
    output = kata("history").output
    assert output.count(" tiny ") == 20
    assert "3 older attempts: kata history --all" in output
    assert kata("history", "--all").output.count(" tiny ") == 23


def test_the_page_of_one_kata_has_its_runs(checkout, monkeypatch):
    """Consecutive runs with the same result share a line, because a watcher records every save."""
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
    assert f"It is due {when}. On a fresh stub: kata again tiny" in output


def test_an_unusable_history_is_a_user_error(checkout):
    """Not a traceback."""
    checkout.state.write_text("in the way")
    for command in ("due", "history", "report"):
        result = kata(command)
        assert result.exit_code == 2, command
        assert "progress is not recorded" in result.stderr


def test_noon_is_a_monday():
    """The expected days above count from it."""
    assert humanize.day(NOON, NOON) == "Mon 9 Mar"
    assert humanize.day(NOON, NOON + 365 * DAY) == "Mon 9 Mar 2026"
