"""Sessions as the version before `DrillState` stored them still resume: a drill, its questions, a hunt, a mock interview."""

import json

import pytest

from dojo.core.catalog import load_catalog
from dojo.progress.attempts import read_attempts
from dojo.progress.database import connect
from dojo.progress.session_state import DrillState, PlantedBug, RoundPart, StageResult
from dojo.tests.practice.drill_without_terminal import FINISH, Room, press
from dojo.tests.progress.made_up_history import NOON

PLANTED = "def double(x):\n    return x * x\n\n\ndef shift(x, by=3):\n    return x - by\n"
WORKING = "def double(x):\n    return x * 2\n\n\ndef shift(x, by=3):\n    return x + by\n"
BUGS = [
    {"name": "moves down", "says": "`by` is subtracted", "test": "test_shift_moves_up", "where": "shift"},
    {"name": "squares", "says": "x is squared", "test": "test_double_is_twice_as_much", "where": "double"},
]
TROUBLE = "The final run was still running after 20 s, in test_1_0"

BEGUN = {"stage": 1}
PAUSED = {"stage": 2, "runs": 2, "hints": 1, "phase": "paused", "paused": 60.0, "seen": NOON + 170}
KILLED = {"stage": 2, "runs": 1, "seen": NOON + 100}
GRADING = {"stage": 2, "runs": 1, "phase": "grading"}
ANSWERED = {
    "stage": 2, "runs": 1, "phase": "answered", "trouble": TROUBLE, "results": [[1, 3, 3, 0.0]], "ratings": [],
}  # fmt: skip
DONE = {
    "stage": 1, "phase": "done", "results": [[1, 3, 3, None], [2, 1, 2, None]], "ratings": [2],
    "again": "Rated Good. To solve again in 2 days, Wed 11 Mar: kata due",
}  # fmt: skip
HUNT = {
    "stage": 4, "bugs": BUGS, "seed": 1, "planted": PLANTED, "working": WORKING, "hints": 1, "seen": NOON + 60,
    "phase": "paused",
}  # fmt: skip
GRADED_HUNT = {
    "stage": 4, "bugs": [{**BUGS[0], "found": ""}, {**BUGS[1], "found": "yes"}], "seed": 1, "planted": PLANTED,
    "working": WORKING, "phase": "done", "extra": 3, "ratings": [], "again": "",
}  # fmt: skip
ROUND = {"parts": [["drill", "tiny", 15.0], ["drill", "tiny", 30.0], ["hunt", "tiny", 15.0]]}


@pytest.fixture
def room(checkout, monkeypatch):
    return Room(checkout, monkeypatch)


def stored(room, detail, kind="drill", *, elapsed=0.0, points=None, ended=None, events=()):
    """Writes the row (and the folder) of an old session. Returns the session as it is read now."""
    folder = room.checkout.state / "drills" / "old"
    folder.mkdir(parents=True)
    (folder / "tiny.py").write_text("x = 1\n")
    row = (kind, "tiny", NOON, ended, elapsed, 5, points, ".dojo/drills/old", json.dumps(detail))
    with connect(room.checkout) as db:
        number = db.execute(
            "INSERT INTO session(kind, kata, started, ended, elapsed, minutes, points, folder, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        db.executemany(
            "INSERT INTO session_event(session, at, elapsed, what, detail) VALUES (?, ?, ?, ?, ?)",
            [(number, NOON, at, what, text) for at, what, text in events],
        )
    (session,) = room.log.sessions()
    return session


def test_a_drill_just_begun_goes_on(room):
    """Only the stage was stored then."""
    app = room.drill(stored(room, BEGUN))
    assert (app.phase, app.state.stage, app.state.hints) == ("work", 1, 0)
    assert "How would you double?" in room.screen(app)


def test_a_paused_drill_goes_on_after_its_pause(room):
    """Both pauses are counted."""
    session = stored(room, PAUSED, elapsed=110)
    room.set(NOON + 200)
    app = room.drill(session)
    assert (app.phase, app.state.stage, app.state.hints, app.state.runs) == ("work", 2, 1, 2)
    assert app.state.paused_s == 60 + 30
    assert "3:10 left" in room.screen(app)


def test_a_killed_drill_goes_on_from_its_last_heartbeat(room):
    """The time since then is a pause."""
    session = stored(room, KILLED, elapsed=100)
    room.set(NOON + 400)
    app = room.drill(session)
    assert (app.phase, app.session.elapsed, app.state.paused_s) == ("work", 100, 300)


def test_a_drill_killed_in_its_grading_is_graded(room):
    """From the events of its stages, too."""
    app = room.drill(stored(room, GRADING, events=[(7.0, "stage", "1")]))
    room.hang(app)
    assert app.forkserver.jobs[-1].stage == 1
    room.answer(app, "ppp")
    assert (app.phase, app.session.points) == ("asking", 61.5)


def test_a_drill_left_at_its_questions_goes_on_there(room):
    """And its last page has the results of then."""
    app = room.drill(stored(room, ANSWERED, points=61.5))
    assert "Add once more." in room.screen(app)
    press(app, "3")
    page = " ".join("\n".join(app.last_page()).split())
    assert "■ 1 3/3 62 0:00 the definition" in page
    assert f"{TROUBLE}: what it did not reach gives no points." in page
    assert "follow-ups 3 of 3" in page


def test_a_finished_drill_is_an_attempt(room):
    """Its results count in the report, its sentence about repetition is kept."""
    session = stored(room, DONE, points=80.8, ended=NOON + 60)
    assert session.state.results == [StageResult(1, 3, 3, None), StageResult(2, 1, 2, None)]
    assert session.state.repeat_advice == DONE["again"]
    (attempt,) = read_attempts(room.checkout)
    assert attempt.best.stages == {1: (3, 3), 2: (1, 2)}


def test_a_hunt_goes_on_with_its_bugs_and_hints(room):
    """Until it is graded."""
    app = room.drill(stored(room, HUNT, "hunt", elapsed=60))
    assert (app.phase, app.state.hints) == ("work", 1)
    assert app.hunt.bugs[0] == PlantedBug("moves down", "`by` is subtracted", "test_shift_moves_up", "shift")
    press(app, "h")
    assert "- double" in room.screen(app)
    press(app, *FINISH)
    room.answer(app, "p")
    assert (app.phase, app.hunt.bugs[0].mended) == ("done", False)


def test_a_graded_hunt_keeps_what_was_mended(room):
    """And the lines touched beyond the bugs."""
    hunt = stored(room, GRADED_HUNT, "hunt", points=50, ended=NOON + 60).state.hunt
    assert [bug.mended for bug in hunt.bugs] == [False, True]
    assert hunt.extra_lines == 3


def test_a_mock_interview_keeps_its_parts(room):
    """The parts that were begun know their interview."""
    state = stored(room, ROUND, "mock").state
    assert state.parts == [
        RoundPart("drill", "tiny", 15),
        RoundPart("drill", "tiny", 30),
        RoundPart("hunt", "tiny", 15),
    ]
    begun = room.log.begin_drill(load_catalog(room.checkout)["tiny"], 15, round_id=7)
    assert room.log.sessions()[-1].state.round_id == begun.state.round_id == 7


@pytest.mark.parametrize("detail", [BEGUN, PAUSED, KILLED, GRADING, ANSWERED, DONE, HUNT, GRADED_HUNT, ROUND])
def test_every_old_key_is_written_again_with_the_same_value(room, detail):
    """So that a report of the version before reads the row as well."""
    written = json.loads(stored(room, detail, "hunt" if "bugs" in detail else "drill").state.to_json())
    assert {key: written.get(key) for key in detail if detail[key] not in ("", [])} == {
        key: value for key, value in detail.items() if value not in ("", [])
    }


@pytest.mark.parametrize("text", ["", "[]", "null", '{"results": 3}', '{"parts": [[1]]}', '{"colour": "red"}'])
def test_a_row_that_cannot_be_read_is_a_new_session(text):
    """Damaged, or of a version to come."""
    assert DrillState.from_json(text) == DrillState()
