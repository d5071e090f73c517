"""The file is the truth: what others write appears, nobody is overwritten silently, and what was typed is not lost."""

import re
import time

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dojo.tests.checkouts import solve
from dojo.tests.room.person import EDITOR


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
