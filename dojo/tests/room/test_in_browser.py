"""The room as a person uses it: a kata from the stub, a drill to its end, a hunt, two windows, a server that is lost.

The tests share one room, because torch takes seconds to load. Each has a kata of its own; those that end the room come last.
"""

import re
import shutil
import signal
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt, read_attempts
from dojo.progress.runs import progress
from dojo.progress.sessions import Session, SessionLog
from dojo.tests.browser import CONTRAST, headless_chromium
from dojo.tests.checkouts import solve
from dojo.tests.room.person import EDITOR, Person
from dojo.tests.room.rooms import room_of

MIN_CONTRAST = 4.5  # WCAG 2.2, level AA
KATAS = [f"tiny{number:02}" for number in range(40)]
NUMBERS = count()


@dataclass(frozen=True)
class OneKata:
    """A kata that no other test touches."""

    checkout: Checkout
    name: str

    @property
    def path(self) -> str:
        return f"/kata/{self.name}"

    @property
    def file(self) -> Path:
        return self.checkout.answer(self.name)

    @property
    def reference(self) -> str:
        return self.checkout.reference(self.name).read_text()

    @property
    def session(self) -> Session:
        """The drill or hunt of this kata."""
        return next(s for s in reversed(SessionLog(self.checkout).sessions()) if s.kata == self.name)

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for attempt in read_attempts(self.checkout) if attempt.kata == self.name]

    @property
    def copies(self) -> list[str]:
        """What lies in .dojo/backups/."""
        folder = self.checkout.state / "backups"
        return [copy.read_bytes().decode("utf-8", "replace") for copy in sorted(folder.glob(f"{self.name}-*.py"))]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = room_of(tmp_path_factory.mktemp("room") / "checkout", katas=KATAS)
    yield room
    room.process.kill()
    room.process.wait()


@pytest.fixture
def kata(room):
    return OneKata(room.checkout, KATAS[next(NUMBERS)])


@pytest.fixture
def person(chrome, room):
    person = Person(chrome, room)
    person.look(1280)
    yield person
    chrome.get("about:blank")


# A kata


def test_a_kata_from_the_stub_to_solved(person, room, kata):
    """The mistake is named, the file is saved, what was done is in the history, and nothing came from elsewhere."""
    person.enter()
    person.reads(f"of {len(KATAS)} katas solved")
    solved = int(re.search(r"(\d+) of \d+ katas solved", person.page)[1])
    person.click(f"· {kata.name} in two functions")
    person.reads(f"{kata.name}.double: write me")
    person.write(kata.reference.replace("x * 2", "x * x"))
    person.reads("Your result is exactly what you get when x is multiplied by itself")
    assert "add x to itself" in person.page
    assert "x * x" in kata.file.read_text()
    person.write(kata.reference)
    person.reads("Solved: every test passes.")
    assert kata.file.read_text() == kata.reference
    person.until(lambda: progress(room.checkout, kata.name).state == "solved")
    person.click("katas")
    person.reads(f"{solved + 1} of {len(KATAS)} katas solved")
    assert person.errors() == []
    assert person.foreign_requests() == []


def test_ctrl_enter_runs_at_once(person, kata):
    person.enter(kata.path)
    person.reads(f"{kata.name}.double: write me")
    person.write(kata.reference)
    person.press(Keys.CONTROL, Keys.ENTER)
    person.reads("Solved: every test passes.")
    assert kata.file.read_text() == kata.reference  # Ctrl-Enter left no line behind


def test_hints_come_one_at_a_time_and_are_recorded(person, kata):
    person.enter(kata.path)
    person.click("Hint")
    person.reads("Hint 1 of 3")
    assert "the structure" not in person.page
    person.click("Hint")
    person.reads("the structure")
    assert [attempt.hints for attempt in kata.attempts] == [2]


def test_the_solution_keeps_its_gate(person, kata):
    """It asks first, going back shows nothing, and giving up is recorded."""
    person.enter(kata.path)
    person.click("Solution")
    person.reads("Show the solution all the same?")
    person.click("Go back")
    person.does_not_read("Show the solution all the same?")
    assert "return x * 2" not in person.page
    person.click("Solution")
    person.click("Show it")
    person.reads("return x * 2")
    assert [attempt.state for attempt in kata.attempts] == ["gave up"]


def test_starting_afresh_keeps_a_copy(person, room, kata):
    person.enter(kata.path)
    person.write(kata.reference)
    person.reads("Solved")
    person.click("Start afresh")
    person.click("Put it back")
    person.reads("The stub is back. What you wrote is in .dojo/backups/")
    assert person.written == room.checkout.stub(kata.name).read_text()
    assert kata.copies == [kata.reference]


def test_a_kata_that_hangs_or_crashes_costs_a_sentence(person, kata):
    """And the next save runs as if nothing had been."""
    person.enter(kata.path)
    person.reads("write me")
    person.write(kata.reference.replace("return x * 2", "import os; os._exit(3)"))
    person.reads("Nothing else was harmed")
    person.write(kata.reference.replace("return x * 2", "while True: pass"))
    person.until(lambda: "while True" in kata.file.read_text())
    time.sleep(0.5)
    began = time.monotonic()
    person.write(kata.reference)
    person.reads("Solved")
    assert time.monotonic() - began < 10  # it did not wait for the hanging run, which is ended after 20


def test_what_a_kata_prints_or_says_is_no_html(person, kata):
    person.enter(kata.path)
    person.reads("write me")
    hostile = "<img src=x onerror=document.title='bad'>"
    person.write(kata.reference.replace("return x * 2", f'print("{hostile}"); raise RuntimeError("{hostile}")'))
    person.reads(hostile)
    assert person.chrome.title != "bad"
    assert person.chrome.find_elements(By.CSS_SELECTOR, "main img") == []


# The file is the truth


def test_a_change_made_outside_appears(person, room, kata):
    person.enter(kata.path)
    person.reads("write me")
    solve(room.checkout, name=kata.name)
    person.reads("Solved")
    person.until(lambda: person.written == kata.reference)


def test_two_windows_never_overwrite_each_other_silently(person, room, kata):
    """What is saved in one appears in the other; what both have typed is asked about, and the loser is kept."""
    first = person.chrome.current_window_handle
    person.enter(kata.path)
    person.reads("write me")
    person.chrome.switch_to.new_window("tab")
    second = person.chrome.current_window_handle
    person.look(1280)
    person.enter(kata.path)
    person.write("# from the second\n" + kata.reference)
    person.reads("Solved")
    person.chrome.switch_to.window(first)
    person.until(lambda: person.written.startswith("# from the second"))
    person.write("# from the first\n" + kata.reference)
    kata.file.write_text("# from an editor\n" + kata.reference)  # before the pause after which the window saves
    person.reads("was changed elsewhere since you typed here")
    assert kata.file.read_text().startswith("# from an editor")
    person.click("Mine")
    person.until(lambda: kata.file.read_text().startswith("# from the first"))
    assert kata.copies == ["# from an editor\n" + kata.reference]
    person.write("# mine again\n" + kata.reference)
    kata.file.write_text("# theirs again\n" + kata.reference)
    person.reads("was changed elsewhere since you typed here")
    person.click("That one")
    person.until(lambda: person.written.startswith("# theirs again"))
    assert "# mine again\n" + kata.reference in kata.copies
    person.chrome.switch_to.window(second)
    person.until(lambda: person.written.startswith("# theirs again"))
    person.chrome.close()
    person.chrome.switch_to.window(first)


def test_a_file_that_is_gone_can_be_put_back(person, kata):
    person.enter(kata.path)
    person.write(kata.reference)
    person.reads("Solved")
    kata.file.unlink()
    person.reads(f"answers/{kata.name}.py is gone. Put back what stands here?")
    person.click("Put it back")
    person.until(lambda: kata.file.is_file() and kata.file.read_text() == kata.reference)


def test_what_was_typed_outlives_its_window_and_the_question_in_it(person, kata):
    """Both have changed, the page asks, and the window is closed instead of an answer."""
    person.enter(kata.path)
    person.reads("write me")
    person.write("# mine\n" + kata.reference)
    kata.file.write_text("# theirs\n" + kata.reference)
    person.reads("was changed elsewhere since you typed here")
    person.chrome.get("about:blank")
    person.until(lambda: kata.copies == ["# mine\n" + kata.reference])
    assert kata.file.read_text().startswith("# theirs")


def test_typing_while_an_editor_saves_mixes_nothing(person, kata):
    """Each text is in the file, or in a copy, as it was written: none is made of both."""
    person.enter(kata.path)
    person.reads("write me")
    person.write(kata.reference)
    person.reads("Solved")
    for number in range(20):
        person.press(Keys.END)
        kata.file.write_text(f"# theirs {number}\n" * 5 + kata.reference)
        person.press("#", "m")
        time.sleep(0.02 * (number % 7))
        if "changed elsewhere" in person.page:
            person.click("That one")
    person.until(lambda: person.written == kata.file.read_text() or "changed elsewhere" in person.page)
    for text in [kata.file.read_text(), *kata.copies]:
        rest = re.sub(r"(#m)+", "", text)
        assert re.fullmatch(r"(# theirs (\d+)\n(# theirs \2\n){4})?", rest.removesuffix(kata.reference)), text


def test_a_save_that_fails_is_tried_again_at_the_next_pause(person, kata):
    person.enter(kata.path)
    person.reads("write me")
    stub = kata.file.read_text()
    person.write("# half\n")
    kata.file.unlink()  # before the pause after which the window saves
    kata.file.mkdir()
    person.reads("is no file, so nobody can write in it.")
    kata.file.rmdir()
    kata.file.write_text(stub)
    person.write(kata.reference)
    person.until(lambda: kata.file.read_text() == kata.reference)
    person.does_not_read("nobody can write in it")


def test_windows_line_ends_stay(person, kata):
    kata.file.write_bytes(kata.reference.replace("\n", "\r\n").encode())
    person.enter(kata.path)
    person.reads("Solved")
    person.chrome.find_element(By.CSS_SELECTOR, EDITOR).click()
    person.press(Keys.CONTROL, Keys.END)
    person.press("# end")
    person.until(lambda: kata.file.read_bytes() == kata.reference.replace("\n", "\r\n").encode() + b"# end")
    assert kata.copies == []


def test_a_file_that_is_not_utf8_is_copied_before_it_is_saved(person, kata):
    old = kata.reference.encode() + b"# caf\xe9\n"
    kata.file.write_bytes(old)
    person.enter(kata.path)
    person.reads("is not UTF-8")
    assert kata.file.read_bytes() == old
    person.write(kata.reference)
    person.reads("Solved")
    assert [copy.read_bytes() for copy in (kata.checkout.state / "backups").glob(f"{kata.name}-*.py")] == [old]


def test_a_reload_in_the_middle_of_a_word_loses_nothing(person, kata):
    person.enter(kata.path)
    person.reads("write me")
    person.write(kata.reference)
    person.chrome.refresh()
    person.reads("Solved")
    assert person.written == kata.reference
    assert kata.file.read_text() == kata.reference


# Drills and hunts


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
    person.click("Leave")
    person.reads("Left unfinished")
    shutil.rmtree(session.folder)
    person.enter(f"/session/{session.id}")
    person.click("Start the clock")
    person.reads("is gone, so that drill cannot go on.")


# How it looks, and without a mouse


def test_much_that_is_printed_leaves_the_buttons_in_sight(person, kata):
    person.enter(kata.path)
    person.reads("write me")
    person.write('print("much\\n" * 1000)\n' + kata.reference.replace("x * 2", "x * x"))
    person.reads("Printed while the file was imported")
    assert (
        person.chrome.execute_script(
            "return document.querySelector('.verdict .buttons').getBoundingClientRect().bottom"
        )
        < 900
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_it_fits_and_can_be_read(person, kata, width, dark):
    """Nothing is wider than the window, and text stands out from its ground (the code's colours are CodeMirror's own)."""
    person.look(width, dark=dark)
    person.enter(kata.path)
    person.reads("write me")
    person.write(kata.reference.replace("x * 2", "x * x"))
    person.reads("Your result is exactly")
    pages = [kata.path, "/", f"/drill/{kata.name}", f"/hunt/{kata.name}", "/kata/nowhere"]
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


def test_landmarks_and_names(person, kata):
    """What a screen reader jumps to, each with a name of its own."""
    person.enter(kata.path)
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


def test_by_keyboard_alone(person, kata):
    """From the address to a solved kata and its solution, with Tab, Enter and Escape; the editor is no trap."""
    person.enter()
    for _ in range(len(KATAS) + 20):
        person.press(Keys.TAB)
        if person.focused.endswith(f"{kata.name} in two functions"):
            break
    person.press(Keys.ENTER)
    person.reads("write me")
    person.wait_until_it_works()
    for _ in range(12):
        person.press(Keys.TAB)
        if person.chrome.execute_script("return document.activeElement.matches('.cm-content')"):
            break
    person.press(Keys.CONTROL, "a")
    person.chrome.execute_cdp_cmd("Input.insertText", {"text": kata.reference})
    person.reads("Solved")
    person.press(Keys.ESCAPE)
    person.press(Keys.TAB)
    names = [person.focused]
    while names[-1] != "Solution" and len(names) < 8:
        person.press(Keys.TAB)
        names.append(person.focused)
    person.press(Keys.ENTER)
    person.reads(f"solutions/{kata.name}.py")


def test_the_list_follows_a_role_and_says_what_is_not_there(person, room):
    person.enter("/?role=nobody")
    person.reads("nobody")
    person.enter("/kata/nowhere")
    person.reads("Something is in the way")
    person.enter("/session/7777")
    person.reads("There is no drill and no hunt with the number 7777.")


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
