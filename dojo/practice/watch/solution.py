"""The pages of `s` in `kata watch`: the reference with what an interviewer asks next, and its difference to one's own code."""

from difflib import unified_diff

from rich.console import RenderableType

from dojo.core.catalog import Kata
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.practice.screen import code, paragraph
from dojo.practice.terminal import Terminal


def reference(terminal: Terminal, kata: Kata, text: str) -> list[str]:
    """The reference, and the follow-up questions with their answers."""
    parts: list[RenderableType] = ["", paragraph(f"solutions/{kata.name}.py", "bold"), "", code(terminal, text)]
    if kata.follow_ups:
        parts += ["", paragraph(say("What an interviewer asks next"), "bold cyan")]
    for asked in kata.follow_ups:
        parts += ["", paragraph(asked.question, "bold"), paragraph(asked.answer, "", 3)]
    return terminal.lines(*parts)


def difference(terminal: Terminal, checkout: Checkout, kata: Kata, text: str) -> list[str]:
    """The learner's file beside the reference: what only the first has in red, what only the second has in green."""
    file = checkout.answer(kata.name)
    yours = checkout.shown(file)
    if not file.is_file():
        nothing = say("{yours} does not exist, so there is nothing to compare.", yours=yours)
        return terminal.lines("", paragraph(nothing, "bold"))
    mine = file.read_bytes().decode("utf-8", "replace")
    lines = list(unified_diff(mine.splitlines(), text.splitlines(), lineterm=""))[2:]  # without the names of the files
    if not lines:
        same = say("{yours} and the reference are the same, line for line.", yours=yours)
        return terminal.lines("", paragraph(same, "bold"))
    head = paragraph(say("- yours, {yours}   + the reference", yours=yours), "bold")
    return terminal.lines("", head, "", code(terminal, "\n".join(lines), "diff"))
