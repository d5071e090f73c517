"""Attempts: where each begins and ends, and how long someone worked in it."""

import pytest

from dojo.progress.attempts import read_attempts
from dojo.progress.schedule import read_reviews
from dojo.tests.progress.made_up_history import Past


@pytest.fixture
def past(checkout):
    """A made-up history that begins on Monday, 9 March 2026 at noon. `tiny` is given five minutes."""
    return Past(checkout)


def minutes_worked(checkout):
    """(minutes, minutes without the limit for each gap) of the newest attempt; None where the time is unknown."""
    attempt = read_attempts(checkout)[0]
    return tuple(seconds and round(seconds / 60) for seconds in (attempt.seconds, attempt.seconds_uncapped))


def test_a_long_gap_counts_ten_minutes(checkout, past):
    """Lunch is no practice. The time without that limit is kept too, so that the attempt is not rated Easy."""
    past.event("tiny", "show").wait(minutes=2).run("tiny", "pf", "ff").wait(minutes=60).run("tiny", "pp", "pp")
    assert minutes_worked(checkout) == (12, 62)


def test_coming_back_to_the_question_after_a_while_counts_nothing(checkout, past):
    """Somebody who reads the question again has been away. So has somebody who runs an untouched stub."""
    past.event("tiny", "show").wait(minutes=2).run("tiny", "pf", "ff").wait(days=1).event("tiny", "show")
    past.wait(minutes=3).run("tiny", "pp", "pp")
    assert minutes_worked(checkout) == (5, 5)


def test_an_early_reading_is_not_the_beginning(checkout, past):
    """Running the tests of all stubs once does not begin 29 attempts."""
    past.run("tiny", "nn", "nn").wait(days=3).event("tiny", "show").wait(minutes=3).run("tiny", "pp", "pp")
    assert read_attempts(checkout)[0].started == past.now - 180
    assert minutes_worked(checkout) == (3, 3)


def test_an_attempt_that_begins_with_an_edited_file_is_never_easy(checkout, catalog, past):
    """Nobody knows how long the editing before the first run took; the recorded time is a lower bound."""
    past.run("tiny", "pp", "pf").wait(minutes=1).run("tiny", "pp", "pp")
    assert minutes_worked(checkout) == (1, None)
    assert read_reviews(checkout, catalog)[0].word == "Good"


def test_an_attempt_ends_where_the_stub_is_restored(checkout, past):
    """Runs, hints and mistakes belong to the attempt in which they were made."""
    past.solve("tiny", hints=1).wait(days=1).event("tiny", "reset").wait(minutes=1)
    past.run("tiny", "pf", "ff", named=["moves down"]).run("tiny", "pp", "ff", named=["moves down", "squares"])
    new, old = read_attempts(checkout)
    assert (new.state, new.hints, [diagnosis.mistake for diagnosis in new.diagnoses]) == (
        "unfinished",
        0,
        ["moves down", "squares"],
    )
    assert (old.state, old.hints, old.diagnoses) == ("solved", 1, ())
    assert (old.stages, new.stages) == ({1: 120.0, 2: 240.0}, {1: 60.0})


def test_reading_alone_is_no_attempt(checkout, past):
    """Nor is a reset, nor the run of a stub."""
    past.event("tiny", "show").event("tiny", "reset").run("tiny", "nn", "nn")
    assert read_attempts(checkout) == []
