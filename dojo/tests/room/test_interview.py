"""A mock interview in the browser: three parts, left in the middle, and its points."""

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from dojo.progress.sessions import SessionLog
from dojo.tests.browser import headless_chromium
from dojo.tests.room.person import Person
from dojo.tests.room.rooms import room_of


@pytest.fixture
def room(tmp_path):
    room = room_of(tmp_path / "checkout")
    yield room
    room.process.kill()
    room.process.wait()


def test_an_interview_to_its_end(tmp_path, room):
    """Each part is a session of its own; between the parts the page says what is done and what comes."""
    reference = room.checkout.reference("tiny").read_text()
    with headless_chromium(tmp_path / "profile") as chrome:
        person = Person(chrome, room)
        person.look(1280)
        person.enter()
        person.click("three parts")
        person.reads("3 parts in 60 minutes")
        person.click("Start the clock")
        for number in (1, 2):
            person.reads(f"{number} of 3: A drill: tiny in two functions")
            person.click("Start the clock")
            person.reads("Stage 1 of 2")
            if number == 1:  # left, and found again
                person.click("Leave")
                person.reads("Left unfinished")
                person.click("The mock interview")
                person.click("On with the part that is open")
                person.click("Start the clock")
                person.reads("Stage 1 of 2")
            person.write(reference)
            person.reads("Follow-up question 1 of 1")
            person.click("The model answer")
            person.click("3 had it")
            person.reads("100 points")
            person.click("On with the interview")
        person.reads("3 of 3: A bug hunt: tiny in two functions")
        assert "drill, 15 minutes; 100 points" in person.page
        person.click("Start the clock")
        person.reads("One bug is planted.")
        hunt = SessionLog(room.checkout).sessions()[-1]
        person.write(hunt.state.hunt.working)
        person.reads("1 of 1 bugs mended")
        person.click("On with the interview")
        person.reads("The round:")
        person.reads("Take the weakest again")
        assert person.errors() == []
    sessions = SessionLog(room.checkout).sessions()
    assert [session.kind for session in sessions] == ["mock", "drill", "drill", "hunt"]
    assert sessions[0].ended is not None
    assert sessions[0].points == round(sum(session.points for session in sessions[1:]) / 3, 1)


def test_an_interview_that_is_not_there(room):
    assert "There is no mock interview with the number 7." in room.get("/interview/7").text
    assert "There is no mock interview for the role llm" in room.get("/interview?role=llm").text
