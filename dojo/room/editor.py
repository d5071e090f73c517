"""The editor of a file. What is typed is saved at every pause; what others write into the file appears in it.

The window sends its whole text at each change (editor.js). CodeMirror's own changes, which NiceGUI applies to a copy, would
mingle with what others have written meanwhile.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nicegui import ui
from nicegui.events import GenericEventArguments

from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.room.frame import button, html, sentences
from dojo.room.sheet import Sheet

SCRIPT = Path(__file__).with_name("editor.js")
PAUSE_S = 0.7  # in typing, after which the file is saved
GONE_S = 0.5  # an editor that replaces a file takes it away for a moment
ANSWER_S = 5.0  # within which a window that is there answers


class Editor:
    """`saved` is called when the file has new content, whoever wrote it; with True, when a run is asked for anyway."""

    def __init__(self, sheet: Sheet, saved: Callable[[bool], object]) -> None:
        self.sheet, self.saved = sheet, saved
        self._typed_at = 0.0  # when something was typed that is not saved; 0 if all is
        self._gone_at = 0.0
        self.text = sheet.read()  # what the window shows
        self._saved_text = self.text  # what the file held when it was read or saved last
        self._in_trouble = False  # the last save failed; the next pause tries again
        self._kept = ""  # what was put aside last, because its window went away
        self._begun, self._enabled = False, True
        self._heard = 0  # how often the window has sent its text
        ui.add_head_html(f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>")
        ui.on("kata_typed", self._typed)
        self.banner = ui.element("div").classes("banner").props("role=alert")
        self.banner.set_visibility(False)
        self.element = ui.codemirror(
            self.text,
            language="Python",
            keymap={"Mod-Enter": self.run_now, "Mod-s": self.run_now},
        ).classes("code-editor")
        ui.context.client.on_disconnect(self.flush)

    async def begin(self) -> None:
        """Takes up what the window kept. To be awaited once the page is connected."""
        label = say("Your answer, {file}", file=self.sheet.checkout.shown(self.sheet.file))
        facts = (self.element.id, str(self.sheet.file), self.sheet.base, self._first_line(), label, self._enabled)
        self.sheet.base = await ui.run_javascript(f"return kata.begin({_arguments(*facts)})", timeout=10)
        self._begun = True

    def _first_line(self) -> int:
        """The line that is to be written first; 0 if there is none. The docstring above it stands beside the editor."""
        return next((n for n, line in enumerate(self.text.split("\n"), 1) if "NotImplementedError" in line), 0)

    async def tick(self) -> None:
        """Saves after a pause, and looks at the file. To be called several times a second."""
        if self.banner.visible or not self._begun:
            return
        if self._typed_at:
            if time.monotonic() - self._typed_at >= PAUSE_S:
                self.save()
        elif self.sheet.changed_elsewhere():
            await self._look_again()

    def run_now(self) -> None:
        """What Ctrl-Enter does: the tests run on what stands here, also if nothing has changed."""
        if not self.banner.visible and self.save():
            self.saved(True)

    def flush(self) -> None:
        """Saves what is typed; for the moment in which the window goes away. What waits for a choice is put aside."""
        if not self._typed_at:
            return
        if not self.banner.visible:
            self.save()
        elif self._kept != self.text:
            with suppress(UserError):  # the disk is full, and a person has been told
                self.sheet.put_aside(self.text)
                self._kept = self.text

    def save(self, *, anyway: bool = False) -> bool:
        """Saves what stands here; False if there is something to ask about first."""
        text = self.text
        try:
            if not self.sheet.save(text, anyway=anyway):
                self._ask_which()
                return False
        except UserError as error:
            self._typed_at = time.monotonic()
            self._show(str(error), (say("Try again"), self.save))
            self._in_trouble = True
            return False
        ui.run_javascript(f"kata.saved({_arguments(self.sheet.base, self._heard)})")
        self._saved(text)
        return True

    def enable(self, enabled: bool) -> None:
        self._enabled = enabled
        if self._begun:
            ui.run_javascript(f"getElement({self.element.id}).setDisabled({_arguments(not enabled)})")

    def _typed(self, event: GenericEventArguments) -> None:
        self._heard += 1
        if self._in_trouble:
            self.banner_away()
        self.text = str(event.args)
        self._typed_at = 0.0 if self.text == self._saved_text else time.monotonic()

    def _saved(self, text: str) -> None:
        self._saved_text = text
        self._typed_at = 0.0 if self.text == text else time.monotonic()
        self.banner_away()
        self.saved(False)

    async def _look_again(self) -> None:
        if self.sheet.file.is_file():
            self._gone_at = 0.0
            await self._follow()
        elif not self._gone_at:
            self._gone_at = time.monotonic()
        elif time.monotonic() - self._gone_at > GONE_S:
            self._gone_at = 0.0
            gone = say("{file} is gone. Put back what stands here?", file=self.sheet.checkout.shown(self.sheet.file))
            self._show(gone, (say("Put it back"), lambda: self.save(anyway=True)))

    async def _follow(self) -> None:
        """Shows what the file holds now, unless something was typed meanwhile: `save` then sees that both have changed."""
        before, known, heard = self.sheet.state, self.text, self._heard
        try:
            text = self.sheet.read()
        except UserError as error:
            self._show(str(error), (say("Try again"), self.banner_away))
            return
        now, self.sheet.state = self.sheet.state, before
        try:
            taken = await ui.run_javascript(f"return kata.take({_arguments(known, text, now.base)})", timeout=ANSWER_S)
        except TimeoutError:  # the window sleeps, or is gone
            return
        if taken:
            self.sheet.state = now
            self.text = text if self._heard == heard else self.text  # what was typed upon it has come first
            self._saved(text)
        elif not self._typed_at:
            self._typed_at = time.monotonic()

    def banner_away(self) -> None:
        self._in_trouble = False
        self.banner.set_visibility(False)

    def load(self) -> None:
        """Shows what the file holds now, whatever stands here."""
        self.text = self.sheet.read()
        ui.run_javascript(f"kata.take({_arguments(None, self.text, self.sheet.base)})")
        self._saved(self.text)

    def _ask_which(self) -> None:
        which = say(
            "{file} was changed elsewhere since you typed here. Which one stays? The other is copied to .dojo/backups/.",
            file=self.sheet.checkout.shown(self.sheet.file),
        )
        self._show(which, (say("That one"), self._take_theirs), (say("Mine"), lambda: self.save(anyway=True)))

    def _take_theirs(self) -> None:
        try:
            self.sheet.put_aside(self.text)
            self.load()
        except UserError as error:
            self._show(str(error), (say("Try again"), self._take_theirs))

    def _show(self, sentence: str, *choices: tuple[str, Callable[[], object]]) -> None:
        self.banner.clear()
        with self.banner:
            html(sentences([sentence], ""))
            for text, action in choices:
                button(text, action)
        self.banner.set_visibility(True)


def _arguments(*values: object) -> str:
    """The arguments of a call in JavaScript."""
    return ", ".join(map(json.dumps, values))
