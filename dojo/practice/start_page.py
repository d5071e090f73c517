"""The page before a clock starts: what comes, for how long, and the key that begins it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from dojo.core.language import say, to_say
from dojo.practice import screen
from dojo.practice.question import Question
from dojo.practice.terminal import RESIZED, Terminal

LEAVE = to_say("leave; nothing is recorded")
LEAVE_ROUND = to_say("leave; the round waits")
LEAVE_CLOCK = to_say("leave; the clock stands")
NOT_BEGUN = to_say("Not begun: nothing is recorded, and no clock has run.")


@dataclass(frozen=True)
class StartPage:
    """What the page says. `warning` is a question that needs the word yes before Enter; `leaving` is what q does."""

    title: str
    sentences: Sequence[str]
    warning: str = ""
    leaving: str = LEAVE

    def lines(self, terminal: Terminal, question: Question | None) -> list[str]:
        """The whole screen."""
        top = [*screen.title_line(terminal, Text(f" {self.title}", "bold"), Text()), screen.rule(terminal)]
        body = terminal.lines(*(part for sentence in self.sentences for part in ("", screen.paragraph(sentence))))
        begin = {say("yes, Enter") if question else "Enter": say("starts the clock")}
        bottom = screen.footer(terminal, {**begin, "q": say(self.leaving)}, [question.sentence] if question else [])
        return screen.frame(terminal, top, body, bottom)


def wants_to_begin(terminal: Terminal, page: StartPage) -> bool:
    """Shows `page` until Enter (True) or q (False). What was typed before it was there does nothing."""
    while terminal.keys.poll():
        terminal.keys.recv()
    question = Question(page.warning, lambda: None) if page.warning else None
    while True:
        terminal.draw(page.lines(terminal, question))
        try:
            key = terminal.keys.recv()
        except KeyboardInterrupt:
            return False
        if key == RESIZED:
            terminal.redraw()
        elif key == "enter" and (question is None or question.answered):
            return True
        elif key in ("q", "escape"):
            return False
        elif question:
            question = question.after(key)
            if question is None:  # it says that any other key goes back
                return False
