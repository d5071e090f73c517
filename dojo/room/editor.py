"""The editor of a file. What is typed is saved at every pause; what others write into the file appears in it."""

import json
import time
from collections.abc import Callable

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from dojo.core.errors import UserError
from dojo.room.frame import button, html, sentences
from dojo.room.sheet import Sheet

PAUSE_S = 0.7  # in typing, after which the file is saved
GONE_S = 0.5  # an editor that replaces a file takes it away for a moment

# What was typed while the room was away is kept by the window until its page is there again.
KEEP = """<script>
window.kata = {
  begin(id, file, base, line, label) {
    Object.assign(this, {id, file, base});
    const view = getElement(id).editor;
    view.contentDOM.setAttribute("aria-label", label);
    if (line) view.scrollDOM.scrollTop = view.lineBlockAt(view.state.doc.line(line).from).top - 60;
    const kept = sessionStorage.getItem("kata " + file);
    sessionStorage.removeItem("kata " + file);
    return {kept: kept && JSON.parse(kept), dark: matchMedia("(prefers-color-scheme: dark)").matches};
  },
  keep() {
    const view = this.id && getElement(this.id)?.editor;
    if (view) sessionStorage.setItem("kata " + this.file, JSON.stringify({base: this.base, text: view.state.doc.toString()}));
  },
};
addEventListener("pagehide", () => kata.keep());
</script>"""


class Editor:
    """`saved` is called when the file has new content, whoever wrote it."""

    def __init__(self, sheet: Sheet, saved: Callable[[], object]) -> None:
        self.sheet, self.saved = sheet, saved
        self._typed_at = 0.0  # when something was typed that is not saved; 0 if all is
        self._gone_at = 0.0
        self._text = sheet.read()  # what the file held when it was read or saved last
        ui.add_head_html(KEEP)
        self.banner = ui.element("div").classes("banner").props("role=alert")
        self.banner.set_visibility(False)
        self.element = ui.codemirror(
            self._text,
            language="Python",
            on_change=self._typed,
            keymap={"Mod-Enter": self.run_now, "Mod-s": self.run_now},
        ).classes("code-editor")
        ui.context.client.on_disconnect(self.flush)

    async def begin(self) -> None:
        """Takes up what the window kept. To be awaited once the page is connected."""
        label = f"Your answer, {self.sheet.checkout.shown(self.sheet.file)}"
        facts = [self.element.id, str(self.sheet.file), self.sheet.base, self._first_line(), label]
        known = await ui.run_javascript(f"return kata.begin(...{json.dumps(facts)})", timeout=10)
        self.element.theme = "vscodeDark" if known["dark"] else "vscodeLight"
        kept = known["kept"]
        if kept and kept["text"] != self._text:
            self.sheet.base = kept["base"]
            self.element.value = kept["text"]

    def _first_line(self) -> int:
        """The line that is to be written first; 0 if there is none. The docstring above it stands beside the editor."""
        return next((n for n, line in enumerate(self._text.splitlines(), 1) if "NotImplementedError" in line), 0)

    @property
    def text(self) -> str:
        return self.element.value or ""

    def tick(self) -> None:
        """Saves after a pause, and looks at the file. To be called several times a second."""
        if self.banner.visible:
            return
        if self._typed_at:
            if time.monotonic() - self._typed_at >= PAUSE_S:
                self.save()
        elif self.sheet.changed_elsewhere():
            self._look_again()

    def run_now(self) -> None:
        """What Ctrl-Enter does: the tests run on what stands here, also if nothing has changed."""
        if not self.banner.visible:
            self.save()

    def flush(self) -> None:
        """Saves what is typed; for the moment in which the window goes away."""
        if self._typed_at and not self.banner.visible:
            self.save()

    def save(self, *, anyway: bool = False) -> None:
        text = self.text
        try:
            if not self.sheet.save(text, anyway=anyway):
                self._ask_which()
                return
        except UserError as error:
            self._typed_at = time.monotonic()
            self._show(str(error), ("Try again", self.save))
            return
        self._saved(text)

    def enable(self, enabled: bool) -> None:
        self.element.set_enabled(enabled)

    def _typed(self, event: ValueChangeEventArguments[str]) -> None:
        self._typed_at = 0.0 if event.value == self._text else time.monotonic()

    def _saved(self, text: str) -> None:
        self._text, self._typed_at = text, 0.0
        self.banner.set_visibility(False)
        ui.run_javascript(f"kata.base = {json.dumps(self.sheet.base)}")
        self.saved()

    def _look_again(self) -> None:
        if self.sheet.file.is_file():
            self._gone_at = 0.0
            self.load()
        elif not self._gone_at:
            self._gone_at = time.monotonic()
        elif time.monotonic() - self._gone_at > GONE_S:
            self._gone_at = 0.0
            shown = self.sheet.checkout.shown(self.sheet.file)
            self._show(f"{shown} is gone. Put back what stands here?", ("Put it back", lambda: self.save(anyway=True)))

    def load(self) -> None:
        """Shows what the file holds now."""
        text = self.sheet.read()
        self._text = text
        self.element.value = text
        self._saved(text)

    def _ask_which(self) -> None:
        shown = self.sheet.checkout.shown(self.sheet.file)
        self._show(
            f"{shown} was changed elsewhere since you typed here. Which one stays? The other is copied to .dojo/backups/.",
            ("That one", self._take_theirs),
            ("Mine", lambda: self.save(anyway=True)),
        )

    def _take_theirs(self) -> None:
        try:
            self.sheet.put_aside(self.text)
        except UserError as error:
            self._show(str(error), ("Try again", self._take_theirs))
            return
        self.load()

    def _show(self, sentence: str, *choices: tuple[str, Callable[[], object]]) -> None:
        self.banner.clear()
        with self.banner:
            html(sentences([sentence], ""))
            for text, action in choices:
                button(text, action)
        self.banner.set_visibility(True)
