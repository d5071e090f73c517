"""The screen of a hunt: a drill without stages and follow-up questions, on a file with planted mistakes."""

from dojo.core.catalog import FollowUp
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.outcome import Outcome
from dojo.engine.messages import Job
from dojo.practice.drill.app import DrillApp
from dojo.practice.hunt import view
from dojo.practice.hunt.grading import HINT_POINTS, grade_hunt
from dojo.practice.hunt.plant import SourceTester
from dojo.progress.session_state import HuntState


class HuntApp(DrillApp):
    hint_points = HINT_POINTS
    names_mistakes = False  # a diagnosis would be the answer

    @property
    def hunt(self) -> HuntState:
        if self.state.hunt is None:
            raise UserError(say("The record of this hunt cannot be read. Begin another: kata hunt"))
        return self.state.hunt

    @property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        return ()

    def job(self, number: int) -> Job:
        return Job(number, self.kata.name, self.session.folder, diagnose=self.names_mistakes)

    def initial_source(self) -> str:
        return self.hunt.planted

    def passed_stages(self) -> list[int]:
        return []

    def pass_stage(self) -> None:
        """Every test passes: the hunt is graded."""
        self.log.add_event(self.session, "stage", "1")
        self.grade()

    def set_points(self, outcomes: tuple[Outcome, ...]) -> None:
        tester = SourceTester(self.checkout, self.kata.name, self.forkserver)
        grade_hunt(self.session, self.hunt, outcomes, tester.failing)

    def hint(self) -> None:
        """Shows where one more bug is, which costs points."""
        bugs = self.hunt.bugs
        self.count_hint(len(bugs))
        number = min(self.state.hints, len(bugs))
        places = "\n".join(f"- {view.place(bug)}" for bug in bugs[:number])
        cost = say("Each such hint costs {points} points.", points=HINT_POINTS)
        title = say("{number} of {total} bugs", number=number, total=len(bugs))
        self.show_text(title, f"{places}\n\n{cost}", self.hint_again(len(bugs)))

    def question(self) -> list[str]:
        return view.question(self.terminal, self.hunt, self.live_run)

    def last_page(self) -> list[str]:
        return view.last_page(self.terminal, self.kata, self.session, self.hunt)
