"""Draws the README's picture of the room: `python -m dojo.tests.room.picture`. It needs chromium with chromedriver."""

import tempfile
from pathlib import Path

from PIL import Image

from dojo.core.files import write
from dojo.core.mistakes import load_mistakes
from dojo.core.stubs import without_fences
from dojo.practice.watch.picture import KATA, MISTAKE
from dojo.practice.workspace import init
from dojo.tests.browser import headless_chromium
from dojo.tests.checkouts import REPOSITORY
from dojo.tests.room.person import Person
from dojo.tests.room.rooms import RunningRoom

PICTURE = REPOSITORY / "docs" / "pictures" / "room.png"
SIZE = (1280, 760)
COLOURS = 96  # which a picture of text needs


def draw() -> None:
    """The kata, with the mistake, of the picture of `kata watch`."""
    with tempfile.TemporaryDirectory(prefix="kata-picture-") as folder:
        checkout, _ = init(Path(folder) / "workspace")
        mistake = next(m for m in load_mistakes(checkout.mistakes(KATA)).named if m.name == MISTAKE)
        wrong = mistake.apply(checkout.reference(KATA).read_text(encoding="utf-8"))
        write(checkout.answer(KATA), without_fences(wrong))
        room = RunningRoom(checkout)
        try:
            with headless_chromium(Path(folder) / "profile") as chrome:
                person = Person(chrome, room)
                person.look(*SIZE)
                person.enter(f"/kata/{KATA}")
                person.reads("Your result is exactly what you get when")
                chrome.execute_script(
                    "getElement(kata.id).editor.scrollDOM.scrollTop = 780; document.activeElement.blur()"
                )
                person.until(lambda: "running" not in person.page)
                PICTURE.parent.mkdir(exist_ok=True)
                chrome.save_screenshot(str(PICTURE))
        finally:
            room.stop()
    Image.open(PICTURE).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    draw()
    print(f"{PICTURE.relative_to(REPOSITORY)} drawn.")
