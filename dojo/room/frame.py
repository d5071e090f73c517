"""What every page of the room has: its head, its landmarks, and the elements that the pages are made of.

Elements are the browser's own (button, dialog by NiceGUI), so that they work by keyboard and with a screen reader.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from markupsafe import escape
from nicegui import ui

from dojo.core.errors import UserError
from dojo.core.language import say

STYLE = Path(__file__).with_name("style.css")
SHARED_STYLE = Path(__file__).resolve().parent.parent / "core" / "style.css"
Handler = Callable[[], object | Awaitable[object]]


@contextmanager
def frame(title: str, *, wide: bool = False) -> Iterator[ui.html]:
    """A page; its content goes into the block, and what belongs at the end of the top line into what is returned."""
    ui.page_title(f"{title} · katas" if title else "katas")
    ui.add_head_html(f"<style>{STYLE.read_text(encoding='utf-8')}</style>")
    skip = say("Skip to the content")
    ui.add_body_html(f'<a class="skip" href="#content">{escape(skip)}</a>')
    with ui.header(fixed=False, elevated=False, add_scroll_padding=False).classes("top"):
        with ui.element("nav").props(labelled(say("Katas"))):
            ui.link("katas", "/")
        ui.html(str(escape(title)), sanitize=False, tag="h1")
        right = html("").classes("right")
    content = ui.element("div")  # NiceGUI's page around it is <main>
    with content.props("id=content tabindex=-1").classes("wide" if wide else "narrow"):
        yield right


def labelled(text: str) -> str:
    """The property that names an element for a screen reader."""
    return f"aria-label={json.dumps(text, ensure_ascii=False)}"


def html(text: str, tag: str = "div") -> ui.html:
    """HTML made by a template, which has escaped what others wrote."""
    return ui.html(text, sanitize=False, tag=tag)


def sentences(texts: Sequence[str], kind: str = "quiet") -> str:
    return "".join(f'<p class="{kind}">{escape(text)}</p>' for text in texts)


def button(text: str, handler: Handler, kind: str = "") -> ui.element:
    with ui.element("button").props("type=button").classes(kind) as element:
        html(str(escape(text)), "span")
    element.on("click", lambda: handler())
    return element


def link_button(text: str, address: str) -> ui.link:
    return ui.link(text, address).classes("button")


async def confirmed(question: str, yes: str) -> bool:
    """Asks before something that cannot be taken back."""
    with ui.dialog() as dialog, ui.element("div").classes("dialog").props("role=alertdialog aria-modal=true"):
        html(sentences([question], ""))
        with ui.element("div").classes("buttons"):
            button(say("Go back"), lambda: dialog.submit(False)).props("autofocus")
            button(yes, lambda: dialog.submit(True), "main")
    answer = await dialog
    dialog.delete()
    return bool(answer)


def trouble_page(error: UserError) -> None:
    """A page that says what is wrong."""
    with frame(say("Something is in the way")):
        html(sentences([str(error)], "bad"))
        ui.link(say("To all katas"), "/")
