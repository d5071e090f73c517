"""The keys of a drill or a hunt that cost points: hints, and the explanation of a failure."""

from dojo.core.catalog import Kata
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.app import App
from dojo.practice.drill import grading
from dojo.practice.drill.closed_book import ClosedBook
from dojo.practice.pages import Actions
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import DrillState
from dojo.progress.sessions import Session, SessionLog


class AppWithHints(App):
    """An app with a session, in which help is bought."""

    hint_points = grading.HINT_POINTS
    names_mistakes = True  # a wrong answer gets a diagnosis

    def __init__(
        self,
        checkout: Checkout,
        terminal: Terminal,
        kata: Kata,
        session: Session,
        log: SessionLog,
        forkserver: ForkServer | None = None,
    ) -> None:
        super().__init__(checkout, terminal, kata, session.folder, forkserver)
        self.session, self.log = session, log
        self.book = ClosedBook(session, log)

    @property
    def state(self) -> DrillState:
        return self.session.state

    def hint(self) -> None:
        """Shows the next hint, which costs points; the last one again when all have been taken."""
        hints = self.kata.hints
        self.count_hint(len(hints))
        number = min(self.state.hints, len(hints))
        text = hints[number - 1] if number else say("This kata has no hints.")
        title = say("Hint {number} of {total}", number=number, total=len(hints))
        self.show_text(title, text, self.hint_again(len(hints)))

    def hint_again(self, available: int) -> Actions:
        """The key for the next hint on the page of one, if there is a next one."""
        words = say("the next one (-{points})", points=self.hint_points)
        return {"h": (words, self.hint)} if self.state.hints < available else {}

    def count_hint(self, available: int) -> None:
        """Records that one more of the available hints was taken, if one was left."""
        if self.state.hints < available:
            self.state.hints += 1
            self.log.add_event(self.session, "hint", str(self.state.hints))

    def explain(self) -> None:
        """Shows the hint of the failure on the screen and the mistakes that were named, at the price of a hint."""
        naming = self.names_mistakes and (self.live_run.waiting or self.unrecorded is not None)
        self.message = self.book.buy(self.live_run, naming)
