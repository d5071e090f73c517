"""The list and the page of a kata, as a person uses them: solving, hints, the solution, looks, and without a mouse."""

import re
import time

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dojo.progress.runs import progress
from dojo.tests.browser import CONTRAST
from dojo.tests.room.person import EDITOR
from dojo.tests.room.rooms import KATAS


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


MIN_CONTRAST = 4.5  # WCAG 2.2, level AA


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
