"""Drills and hunts as a person does them, to their end, left, killed; and a server that is lost.

The tests that end the room come last.
"""

import shutil
import signal
import time

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver.common.by import By

from dojo.tests.room.rooms import KATAS, NUMBERS, OneKata


def test_a_finished_drill_is_graded_on_what_is_typed(person, kata):
    """What was typed just before Finish counts."""
    person.enter(f"/drill/{kata.name}")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    person.click("Finish")
    person.reads("Finish now and be graded?")
    person.click("Go back")
    person.write(kata.reference.replace("x + by", "x - by"))
    person.click("Finish")
    person.until(lambda: person._clicked("//div[@role='alertdialog']//button[normalize-space()='Finish']"))
    person.reads("points. Follow-up question")
    attempt = kata.session.attempt.read_text()
    assert "x - by" in attempt


def test_a_hunt_to_its_end(person, kata):
    """It warns before it shows the reference; the bug is mended, and the last page names it."""
    person.enter(f"/hunt/{kata.name}")
    person.reads(f"You have not solved {kata.name}, and a hunt shows its reference")
    person.click("Start the clock")
    person.reads("One bug is planted.")
    session = kata.session
    assert person.written == session.state.hunt.planted
    person.write(session.state.hunt.working)
    person.reads("1 of 1 bugs mended")
    assert kata.session.state.hunt.bugs[0].mended


def test_what_one_window_leaves_the_other_leaves_too(person, kata):
    first = person.chrome.current_window_handle
    person.enter(f"/drill/{kata.name}")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    person.chrome.switch_to.new_window("tab")
    person.look(1280)
    person.enter(f"/session/{kata.session.id}")
    person.reads("Stage 1 of 2")
    person.click("Leave")
    person.reads("Left unfinished")
    person.chrome.close()
    person.chrome.switch_to.window(first)
    person.reads("The drill that you left")


def test_a_drill_whose_folder_is_gone_goes_on_or_costs_a_sentence(person, room, kata):
    person.enter(f"/drill/{kata.name}")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    session = kata.session
    shutil.rmtree(session.folder)
    person.reads("is gone. Put back what stands here?")
    person.click("Put it back")
    person.write(kata.reference.replace("if x < 0", "if x < -9"))
    person.reads("Stage 2 of 2")
    person.reads("5 of 6 tests pass")
    person.click("Leave")
    person.reads("Left unfinished")
    shutil.rmtree(session.folder)
    person.enter(f"/session/{session.id}")
    person.click("Start the clock")
    person.reads("is gone, so that drill cannot go on.")


# Those that end the room


def test_a_drill_to_its_end(person, room, kata):
    """Stages open, the clock stands in a pause and goes on after a reload, the follow-up is rated, and the last page stays."""
    person.enter(f"/drill/{kata.name}")
    person.reads("5 minutes on a fresh copy of the stub")
    person.click("Start the clock")
    person.reads("left")
    person.reads("Stage 1 of 2")
    person.write(kata.reference.replace("if x < 0", "if x < -9"))
    person.reads("Stage 2 of 2")
    person.reads("Good. And now:")
    person.click("Hint (-5)")
    person.reads("Hint 1 of 3")
    person.click("Pause")
    person.reads("The clock stands.")
    stands = person.chrome.find_element(By.CSS_SELECTOR, ".clock").text
    person.chrome.refresh()
    person.reads("The clock stands.")
    assert person.chrome.find_element(By.CSS_SELECTOR, ".clock").text == stands
    person.click("Go on")
    person.reads("✗", ".verdict")
    person.write(kata.reference)
    person.reads("Follow-up question 1 of 1")
    assert "Add once more." not in person.page
    person.click("The model answer")
    person.reads("Add once more.")
    person.click("2 most of it")
    person.reads("All stages stand after")
    person.reads("95 points")
    person.chrome.refresh()
    person.reads("95 points")
    session = kata.session
    assert (session.points, session.state.hints, session.state.ratings, session.state.phase) == (95.0, 1, [2], "done")
    assert kata.file.read_text() == room.checkout.stub(kata.name).read_text()  # a drill leaves the answers alone
    assert room.stop() == 0
    room.start()
    person.enter(f"/session/{session.id}")
    person.reads("95 points")


def test_a_server_that_was_lost_comes_back_with_what_was_typed(person, room, kata):
    """The page reconnects by itself, and what was typed meanwhile is saved and judged, also in a window that was closed."""
    closed = OneKata(room.checkout, KATAS[next(NUMBERS)])
    person.enter(kata.path)
    person.reads("write me")
    stays = person.chrome.current_window_handle
    person.chrome.switch_to.new_window("tab")
    person.look(1280)
    person.enter(closed.path)
    person.reads("write me")
    room.process.kill()
    room.process.wait()
    time.sleep(0.5)
    person.write(closed.reference)
    person.chrome.close()
    person.chrome.switch_to.window(stays)
    person.write(kata.reference)
    room.start()
    person.reads("Solved")
    assert kata.file.read_text() == kata.reference
    person.enter(closed.path)
    person.reads("Solved")
    assert closed.file.read_text() == closed.reference


def test_a_drill_that_was_killed_goes_on(person, room, kata):
    """Nothing of it is lost with the server, and its clock has stood."""
    person.enter(f"/drill/{kata.name}")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    person.write("# half\n" + kata.reference.replace("x + by", "x - by"))
    session = person.until(lambda: kata.session)
    person.until(lambda: session.file.read_text().startswith("# half"))
    room.stop(signal.SIGKILL)
    person.chrome.get("about:blank")  # a page that is open comes back by itself, over the one that is entered
    room.start()
    person.enter()
    person.reads("Left unfinished")
    person.click(f"The drill of {kata.name}")
    person.reads("The clock has stood since.")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    assert person.written.startswith("# half")


def test_a_drill_that_no_window_shows_is_paused_when_the_room_ends(person, room, kata):
    person.enter(f"/drill/{kata.name}")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    assert room.stop() == 0
    assert kata.session.state.phase == "paused"
