"""What is asked before something that cannot be taken back. It is answered by a word."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dojo.core.language import say

ANSWER = "yes"  # and Enter. One letter would do for a key, but somebody may be typing into the wrong window


@dataclass(frozen=True)
class Question:
    """The question, what is done on ANSWER, and what was typed of it."""

    asked: str
    action: Callable[[], None]
    typed: str = ""

    @property
    def sentence(self) -> str:
        asked = say("{asked} Type {answer} and Enter; any other key goes back.", asked=self.asked, answer=ANSWER)
        return f"{asked} {self.typed}".rstrip()

    @property
    def answered(self) -> bool:
        return self.typed == ANSWER

    def after(self, key: str) -> "Question | None":
        """The question with one more key of the answer; None, so closed, after one that does not belong to it."""
        typed = self.typed + key.lower()
        return replace(self, typed=typed) if ANSWER.startswith(typed) else None
