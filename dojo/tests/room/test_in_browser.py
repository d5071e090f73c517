"""The room as a person uses it: a kata from the stub, a drill to its end, a hunt, two windows, a server that is lost."""

import signal
import time

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dojo.core.catalog import load_catalog
from dojo.progress.attempts import read_attempts
from dojo.progress.runs import progress
from dojo.progress.sessions import SessionLog
from dojo.tests.browser import CONTRAST, headless_chromium
from dojo.tests.checkouts import solve
from dojo.tests.room.person import EDITOR, Person
from dojo.tests.room.rooms import room_of

MIN_CONTRAST = 4.5  # WCAG 2.2, level AA


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def room(tmp_path):
    room = room_of(tmp_path / "checkout")
    yield room
    room.process.kill()
    room.process.wait()


@pytest.fixture
def person(chrome, room):
    person = Person(chrome, room)
    person.look(1280)
    yield person
    chrome.get("about:blank")


@pytest.fixture
def reference(room):
    return room.checkout.reference("tiny").read_text()


def file_of(room):
    return room.checkout.answer("tiny")


# A kata


def test_a_kata_from_the_stub_to_solved(person, room, reference):
    """The mistake is named, the file is saved, what was done is in the history, and nothing came from elsewhere."""
    person.enter()
    person.reads("0 of 1 katas solved")
    person.click("· tiny in two functions")
    person.reads("tiny.double: write me")
    person.write(reference.replace("x * 2", "x * x"))
    person.reads("Your result is exactly what you get when x is multiplied by itself")
    assert "add x to itself" in person.page
    assert "x * x" in file_of(room).read_text()
    person.write(reference)
    person.reads("Solved: every test passes.")
    assert file_of(room).read_text() == reference
    person.until(lambda: progress(room.checkout, "tiny").state == "solved")
    person.click("katas")
    person.reads("1 of 1 katas solved")
    assert person.errors() == []
    assert person.foreign_requests() == []


def test_ctrl_enter_runs_at_once(person, room, reference):
    person.enter("/kata/tiny")
    person.reads("tiny.double: write me")
    person.write(reference)
    person.press(Keys.CONTROL, Keys.ENTER)
    person.reads("Solved: every test passes.")
    assert file_of(room).read_text() == reference  # Ctrl-Enter left no line behind


def test_hints_come_one_at_a_time_and_are_recorded(person, room):
    person.enter("/kata/tiny")
    person.click("Hint")
    person.reads("Hint 1 of 3")
    assert "the structure" not in person.page
    person.click("Hint")
    person.reads("the structure")
    assert [attempt.hints for attempt in read_attempts(room.checkout)] == [2]


def test_the_solution_keeps_its_gate(person, room):
    """It asks first, going back shows nothing, and giving up is recorded."""
    person.enter("/kata/tiny")
    person.click("Solution")
    person.reads("Show the solution all the same?")
    person.click("Go back")
    person.does_not_read("Show the solution all the same?")
    assert "return x * 2" not in person.page
    person.click("Solution")
    person.click("Show it")
    person.reads("return x * 2")
    assert [attempt.state for attempt in read_attempts(room.checkout)] == ["gave up"]


def test_starting_afresh_keeps_a_copy(person, room, reference):
    person.enter("/kata/tiny")
    person.write(reference)
    person.reads("Solved")
    person.click("Start afresh")
    person.click("Put it back")
    person.reads("The stub is back. What you wrote is in .dojo/backups/")
    assert person.written == room.checkout.stub("tiny").read_text()
    copies = list((room.checkout.state / "backups").glob("tiny-*.py"))
    assert [copy.read_text() for copy in copies] == [reference]


def test_a_kata_that_hangs_or_crashes_costs_a_sentence(person, room, reference):
    """And the next save runs as if nothing had been."""
    person.enter("/kata/tiny")
    person.reads("write me")
    person.write(reference.replace("return x * 2", "import os; os._exit(3)"))
    person.reads("Nothing else was harmed")
    person.write(reference.replace("return x * 2", "while True: pass"))
    person.until(lambda: "while True" in file_of(room).read_text())
    time.sleep(0.5)
    began = time.monotonic()
    person.write(reference)
    person.reads("Solved")
    assert time.monotonic() - began < 10  # it did not wait for the hanging run, which is ended after 20


def test_what_a_kata_prints_or_says_is_no_html(person, reference):
    person.enter("/kata/tiny")
    person.reads("write me")
    hostile = "<img src=x onerror=document.title='bad'>"
    person.write(reference.replace("return x * 2", f'print("{hostile}"); raise RuntimeError("{hostile}")'))
    person.reads(hostile)
    assert person.chrome.title != "bad"
    assert person.chrome.find_elements(By.CSS_SELECTOR, "main img") == []


# The file is the truth


def test_a_change_made_outside_appears(person, room, reference):
    person.enter("/kata/tiny")
    person.reads("write me")
    solve(room.checkout)
    person.reads("Solved")
    person.until(lambda: person.written == reference)


def test_two_windows_never_overwrite_each_other_silently(person, room, reference):
    """What is saved in one appears in the other; what both have typed is asked about, and the loser is kept."""
    first = person.chrome.current_window_handle
    person.enter("/kata/tiny")
    person.reads("write me")
    person.chrome.switch_to.new_window("tab")
    second = person.chrome.current_window_handle
    person.look(1280)
    person.enter("/kata/tiny")
    person.write("# from the second\n" + reference)
    person.reads("Solved")
    person.chrome.switch_to.window(first)
    person.until(lambda: person.written.startswith("# from the second"))
    person.write("# from the first\n" + reference)
    file_of(room).write_text("# from an editor\n" + reference)  # before the pause after which the window saves
    person.reads("was changed elsewhere since you typed here")
    assert file_of(room).read_text().startswith("# from an editor")
    person.click("Mine")
    person.until(lambda: file_of(room).read_text().startswith("# from the first"))
    copies = [copy.read_text() for copy in (room.checkout.state / "backups").glob("tiny-*.py")]
    assert copies == ["# from an editor\n" + reference]
    person.write("# mine again\n" + reference)
    file_of(room).write_text("# theirs again\n" + reference)
    person.reads("was changed elsewhere since you typed here")
    person.click("That one")
    person.until(lambda: person.written.startswith("# theirs again"))
    copies = {copy.read_text() for copy in (room.checkout.state / "backups").glob("tiny-*.py")}
    assert "# mine again\n" + reference in copies
    person.chrome.switch_to.window(second)
    person.until(lambda: person.written.startswith("# theirs again"))
    person.chrome.close()
    person.chrome.switch_to.window(first)


def test_a_file_that_is_gone_can_be_put_back(person, room, reference):
    person.enter("/kata/tiny")
    person.write(reference)
    person.reads("Solved")
    file_of(room).unlink()
    person.reads("answers/tiny.py is gone. Put back what stands here?")
    person.click("Put it back")
    person.until(lambda: file_of(room).is_file() and file_of(room).read_text() == reference)


def test_a_reload_in_the_middle_of_a_word_loses_nothing(person, room, reference):
    person.enter("/kata/tiny")
    person.reads("write me")
    person.write(reference)
    person.chrome.refresh()
    person.reads("Solved")
    assert person.written == reference
    assert file_of(room).read_text() == reference


def test_a_server_that_was_lost_comes_back_with_what_was_typed(person, room, reference):
    """The page reconnects by itself, and what was typed meanwhile is saved and judged."""
    room.arguments = ("--port", str(room.port))
    person.enter("/kata/tiny")
    person.reads("write me")
    room.process.kill()
    room.process.wait()
    time.sleep(0.5)
    person.write(reference)
    room.start()
    person.reads("Solved")
    assert file_of(room).read_text() == reference


# Drills and hunts


def test_a_drill_to_its_end(person, room, reference):
    """Stages open, the clock stands in a pause and goes on after a reload, the follow-up is rated, and the last page stays."""
    person.enter("/drill/tiny")
    person.reads("5 minutes on a fresh copy of the stub")
    person.click("Start the clock")
    person.reads("left")
    person.reads("Stage 1 of 2")
    person.write(reference.replace("if x < 0", "if x < -9"))
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
    person.write(reference)
    person.reads("Follow-up question 1 of 1")
    assert "Add once more." not in person.page
    person.click("The model answer")
    person.reads("Add once more.")
    person.click("2 most of it")
    person.reads("All stages stand after")
    person.reads("95 points")
    person.chrome.refresh()
    person.reads("95 points")
    session = SessionLog(room.checkout).sessions()[-1]
    assert (session.points, session.state.hints, session.state.ratings, session.state.phase) == (95.0, 1, [2], "done")
    assert file_of(room).read_text() == room.checkout.stub("tiny").read_text()  # a drill leaves the answers alone
    assert room.stop() == 0
    room.start()
    person.enter(f"/session/{session.id}")
    person.reads("95 points")


def test_a_drill_that_was_killed_goes_on(person, room, reference):
    """Nothing of it is lost with the server, and its clock has stood."""
    person.enter("/drill/tiny")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    person.write("# half\n" + reference.replace("x + by", "x - by"))
    session = person.until(lambda: SessionLog(room.checkout).sessions()[-1])
    person.until(lambda: session.file.read_text().startswith("# half"))
    room.stop(signal.SIGKILL)
    room.start()
    person.enter()
    person.reads("Left unfinished")
    person.click("The drill of tiny")
    person.reads("The clock has stood since.")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    assert person.written.startswith("# half")


def test_a_finished_drill_is_graded_on_what_is_typed(person, room, reference):
    """What was typed just before Finish counts."""
    person.enter("/drill/tiny")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    person.click("Finish")
    person.reads("Finish now and be graded?")
    person.click("Go back")
    person.write(reference.replace("x + by", "x - by"))
    person.click("Finish")
    person.until(lambda: person._clicked("//div[@role='alertdialog']//button[normalize-space()='Finish']"))
    person.reads("points. Follow-up question")
    attempt = SessionLog(room.checkout).sessions()[-1].attempt.read_text()
    assert "x - by" in attempt


def test_a_drill_that_no_window_shows_is_paused_when_the_room_ends(person, room):
    person.enter("/drill/tiny")
    person.click("Start the clock")
    person.reads("Stage 1 of 2")
    assert room.stop() == 0
    assert SessionLog(room.checkout).sessions()[-1].state.phase == "paused"


def test_a_hunt_to_its_end(person, room):
    """It warns before it shows the reference; the bug is mended, and the last page names it."""
    person.enter("/hunt/tiny")
    person.reads("You have not solved tiny, and a hunt shows its reference")
    person.click("Start the clock")
    person.reads("One bug is planted.")
    session = SessionLog(room.checkout).sessions()[-1]
    assert person.written == session.state.hunt.planted
    person.write(session.state.hunt.working)
    person.reads("1 of 1 bugs mended")
    assert SessionLog(room.checkout).sessions()[-1].state.hunt.bugs[0].mended


# How it looks, and without a mouse


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_it_fits_and_can_be_read(person, room, reference, width, dark):
    """Nothing is wider than the window, and text stands out from its ground (the code's colours are CodeMirror's own)."""
    person.look(width, dark=dark)
    person.enter("/kata/tiny")
    person.reads("write me")
    person.write(reference.replace("x * 2", "x * x"))
    person.reads("Your result is exactly")
    pages = ["/kata/tiny", "/", "/drill/tiny", "/hunt/tiny", "/kata/nowhere"]
    for path in pages:
        person.enter(path)
        person.reads("katas")
        time.sleep(0.3)
        assert person.chrome.execute_script("return document.documentElement.scrollWidth") <= width, path
        ratios = person.chrome.execute_script(
            CONTRAST.replace("if (!text ||", "if (!text || e.closest('.cm-editor, #popup, .nicegui-error-popup') ||")
        )
        assert ratios, path
        assert ratios[0][0] >= MIN_CONTRAST, (path, ratios[:3])


def test_landmarks_and_names(person):
    """What a screen reader jumps to, each with a name of its own."""
    person.enter("/kata/tiny")
    person.reads("write me")
    find = person.chrome.find_elements
    assert len(find(By.CSS_SELECTOR, "main")) == len(find(By.CSS_SELECTOR, "h1")) == 1
    assert [e.get_attribute("aria-label") for e in find(By.CSS_SELECTOR, "main section")] == [
        "Question",
        "Your answer",
        "Verdict",
    ]
    assert find(By.CSS_SELECTOR, "header nav[aria-label]")
    assert find(By.CSS_SELECTOR, ".verdict [role=status][aria-live=polite]")
    assert find(By.CSS_SELECTOR, f"{EDITOR}[role=textbox][aria-label]")
    assert person.chrome.execute_script("return document.documentElement.lang")
    assert all(
        e.text or e.get_attribute("aria-label")
        for e in find(By.CSS_SELECTOR, "main button, main a")
        if e.is_displayed()
    )


def test_by_keyboard_alone(person, room, reference):
    """From the address to a solved kata and its solution, with Tab, Enter and Escape; the editor is no trap."""
    person.enter()
    for _ in range(12):
        person.press(Keys.TAB)
        if person.focused.endswith("tiny in two functions"):
            break
    person.press(Keys.ENTER)
    person.reads("write me")
    person.wait_until_it_works()
    for _ in range(12):
        person.press(Keys.TAB)
        if person.chrome.execute_script("return document.activeElement.matches('.cm-content')"):
            break
    person.press(Keys.CONTROL, "a")
    person.chrome.execute_cdp_cmd("Input.insertText", {"text": reference})
    person.reads("Solved")
    person.press(Keys.ESCAPE)
    person.press(Keys.TAB)
    names = [person.focused]
    while names[-1] != "Solution" and len(names) < 8:
        person.press(Keys.TAB)
        names.append(person.focused)
    person.press(Keys.ENTER)
    person.reads("solutions/tiny.py")


def test_the_list_follows_a_role_and_says_what_is_not_there(person, room):
    person.enter("/?role=nobody")
    person.reads("nobody")
    person.enter("/kata/nowhere")
    person.reads("Something is in the way")
    person.enter("/session/77")
    person.reads("There is no drill and no hunt with the number 77.")
    assert load_catalog(room.checkout)
