"""Drills in the room's threads: when they begin, who may have them, and when they are left."""

import time

import pytest

pytest.importorskip("nicegui")

from dojo.core.errors import UserError
from dojo.practice.drill import lock
from dojo.progress.sessions import SessionLog
from dojo.room import sessions
from dojo.room.sessions import Sessions


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_drill_that_no_window_shows_is_free_for_the_terminal(checkout, catalog, monkeypatch):
    """Its clock stands, and the room and the terminal can go on with it; while a window shows it, nobody else can."""
    monkeypatch.setattr(sessions, "AWAY_S", 1.0)
    room = Sessions(checkout, catalog)
    number = room.begin_drill(catalog["tiny"], 5)
    session = SessionLog(checkout).sessions()[-1]
    for _ in range(20):
        assert room.running(number).view.phase == "work"
        time.sleep(0.1)
    assert lock.is_open(session.folder)
    with pytest.raises(UserError, match="open in another terminal"):
        Sessions(checkout, catalog).resume(session)
    until(lambda: not lock.is_open(session.folder))
    assert room.running(number) is None
    assert SessionLog(checkout).sessions()[-1].state.phase == "paused"
    assert room.resume(SessionLog(checkout).sessions()[-1]) == number
    assert room.running(number).view.phase == "work"
    room.close()
    assert not lock.is_open(session.folder)


def test_the_next_drill_finds_torch_loaded(checkout, catalog):
    """The process that ran one drill runs the next; two at a time have one each, and none outlives the room."""
    room = Sessions(checkout, catalog)
    first = room.running(room.begin_drill(catalog["tiny"], 5))
    process = first.app.forkserver.process
    second = room.running(room.begin_drill(catalog["tiny"], 5))
    assert second.app.forkserver.process is not process
    first.leave()
    third = room.running(room.begin_drill(catalog["tiny"], 5))
    assert third.app.forkserver.process is process
    room.close()
    assert not process.is_alive()
    assert not second.app.forkserver.process.is_alive()
