"""The screen of a drill: stages open one after another until the time is up, then follow-up questions and a last page."""

import subprocess
from pathlib import Path

from dojo.core import clock
from dojo.core.answers import learners_stub
from dojo.core.catalog import FollowUp, Kata
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.language import say
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Job, JobDied, Verdict
from dojo.practice import screen
from dojo.practice.drill import grading, last_page, lock, view
from dojo.practice.drill.clock import DrillClock
from dojo.practice.drill.hints import AppWithHints
from dojo.practice.live_run import JOB_NUMBERS
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import Phase
from dojo.progress.sessions import Session, SessionLog

MAX_FOLLOW_UPS = 3


class DrillApp(AppWithHints):
    """One drill, from its beginning or from where it was left, to its last page.

    `part` ("2 of 3: ") is set in a mock interview; then Enter on the last page sets `next_part`.
    """

    wait_s = 0.25  # how often the clock is drawn

    def __init__(
        self,
        checkout: Checkout,
        kata: Kata,
        session: Session,
        log: SessionLog,
        terminal: Terminal,
        part: str = "",
        forkserver: ForkServer | None = None,
    ) -> None:
        self.part = part
        self.next_part = False
        self.lock_file = lock.acquire_or_raise(checkout, session.folder)
        super().__init__(checkout, terminal, kata, session, log, forkserver)
        self.clock = DrillClock(session, log)
        self.graded_up_to: int | None = None  # the last stage of the final run; None is all stages
        if self.phase == "paused" or self.state.last_seen is not None:
            self.resume()  # it was left, or killed
        if self.phase == "work":
            self.start_run()
        elif self.phase == "grading":
            self.grade()

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def file(self) -> Path:
        return self.session.file

    @property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        """The questions asked at the end."""
        return self.kata.follow_ups[:MAX_FOLLOW_UPS]

    def run(self) -> list[str]:
        """Runs the drill. Returns its last page, to be printed; empty if it was left before its end."""
        self.run_until_done()
        return self.last_page() if self.phase == "done" else []

    def enter(self, phase: Phase) -> None:
        """Begins another phase, and saves it."""
        self.state.phase = phase
        self.open_question = None
        self.close_pages()
        self.log.save(self.session)

    def leave(self) -> None:
        """Ends the program; the clock stands until `kata drill --resume`."""
        if self.phase == "work":
            self.pause()
        super().leave()

    def close(self) -> None:
        super().close()
        self.log.save(self.session)
        if self.lock_file:
            self.lock_file.close()

    # -- time

    def tick(self) -> None:
        if self.clock.tick():
            self.grade()

    def pause(self) -> None:
        self.clock.pause()
        self.enter("paused")

    def resume(self) -> None:
        self.clock.resume()
        if self.contents.changed({self.kata.name}):
            self.start_run()  # saved during the pause

    # -- runs

    def handle_save(self, names: set[str]) -> None:
        if self.phase == "work" and self.contents.changed(names):
            self.run_saved_file()

    def job(self, number: int) -> Job:
        return Job(number, self.kata.name, self.session.folder, stage=self.state.stage)

    def handle_verdict(self, verdict: Verdict) -> None:
        if self.phase == "grading":
            self.finish_grading(verdict.outcomes)
            return
        super().handle_verdict(verdict)
        if verdict.all_passed:
            self.pass_stage()

    def handle_death(self, message: JobDied) -> None:
        fork_server_died = message.number == 0
        if self.phase == "grading" and fork_server_died:
            self.grade()
        elif self.phase == "grading":
            self.grade_without_verdict(message)
        elif fork_server_died and self.phase == "work":
            self.start_run()

    def handle_diagnosis(self) -> None:
        if self.phase in ("work", "paused"):
            self.book.add_names(self.live_run)
            super().handle_diagnosis()
        else:  # of the final run
            self.state.mistakes = [(each.mistake, each.sentence) for each in self.live_run.diagnoses]
            self.log.save(self.session)

    def record_run(self, verdict: Verdict) -> None:
        self.state.runs += 1  # for the last page, should the history not be writable
        self.log.add_run(self.session, verdict.outcomes, verdict.expected, verdict.source, self.live_run.diagnoses)

    def pass_stage(self) -> None:
        """Opens the next stage; after the last one the drill is graded."""
        self.log.add_event(self.session, "stage", str(self.state.stage))
        if self.state.stage >= len(self.kata.stages):
            self.grade()
            return
        self.state.stage += 1
        self.log.save(self.session)
        self.start_run()

    # -- grading

    def grade(self) -> None:
        """Freezes the attempt and starts its final run."""
        grading.freeze(self.session)
        self.record()
        self.message = ""
        self.state.last_seen = None
        self.enter("grading")
        self.start_final_run(None)

    def start_final_run(self, up_to: int | None) -> None:
        self.graded_up_to = up_to
        folder = self.session.attempt.parent
        self.submit(Job(next(JOB_NUMBERS), self.kata.name, folder, stage=up_to, diagnose=self.names_mistakes))

    def grade_without_verdict(self, died: JobDied) -> None:
        """Grades only the stages that were passed before, because a test of the others hung or crashed."""
        grading.note_death(self.session, died)
        passed = self.passed_stages()
        if passed and self.graded_up_to is None:
            self.start_final_run(max(passed))
        else:
            self.finish_grading(())

    def passed_stages(self) -> list[int]:
        return grading.passed_stages(self.session, self.log)

    def finish_grading(self, outcomes: tuple[Outcome, ...]) -> None:
        self.set_points(outcomes)
        self.log.add_event(self.session, "grade", f"{self.session.points:g}")
        self.next_question()

    def set_points(self, outcomes: tuple[Outcome, ...]) -> None:
        grading.grade_drill(self.session, self.kata, outcomes, self.log)

    def next_question(self) -> None:
        """Asks the next follow-up question; after the last one the drill has ended."""
        if len(self.state.ratings) < len(self.follow_ups):
            self.enter("asking")
            return
        self.session.ended = clock.now()
        self.enter("done")
        self.log.add_event(self.session, "end")
        self.state.repeat_advice = last_page.repeat_advice(self.checkout, self.session)
        self.log.save(self.session)

    # -- keys

    def do_key_action(self, key: str) -> None:
        if key == "q":
            self.leave()
        elif self.phase == "work":
            self.do_work_action(key)
        elif self.phase == "paused" and key == "p":
            self.resume()
        elif self.phase == "asking" and key == "enter":
            self.enter("answered")
        elif self.phase == "answered" and key in view.KEYS["answered"]:
            self.state.ratings.append(int(key))
            self.log.add_event(self.session, "follow-up", key)
            self.next_question()
        elif self.phase == "done" and key == "enter" and self.part:
            self.next_part = self.done = True

    def do_work_action(self, key: str) -> None:
        actions = {"h": self.hint, "x": self.explain, "p": self.pause, "t": self.show_tests, "e": self.edit}
        if key in actions:
            actions[key]()
        elif key == "r" and not self.file.is_file():
            self.restore()
        elif key == "f":
            self.ask(say("Finish now and be graded?"), self.grade)

    def run_editor(self, command: list[str]) -> None:
        editor = subprocess.Popen(command)
        while editor.poll() is None:
            self.handle_events()  # the time may be up before the editor is closed

    def restore(self) -> None:
        """Writes the file again as it was at the beginning; its whole folder may have been deleted."""
        try:
            self.session.folder.mkdir(parents=True, exist_ok=True)
            write(self.file, self.initial_source())
        except (OSError, UserError) as error:
            self.message = str(error)
            return
        self.saves.close()
        self.watch_folder(self.session.folder)
        self.start_run()

    def initial_source(self) -> str:
        return learners_stub(self.checkout, self.kata.name)

    # -- the screen

    def header(self) -> list[str]:
        lines = view.header(self.terminal, self.session, self.kata, self.checkout.shown(self.file), self.part)
        if self.phase == "work":
            lines += [*self.question(), screen.rule(self.terminal)]
        return lines

    def question(self) -> list[str]:
        return view.question(self.terminal, self.kata, self.state.stage, self.live_run)

    def body(self) -> list[str]:
        if self.phase == "done":
            return self.last_page()
        file = self.checkout.shown(self.file)
        return view.body(self.terminal, self.session, file, self.book.shown(self.live_run), self.follow_ups)

    def last_page(self) -> list[str]:
        summary = last_page.summarise(self.session, self.kata, self.log)
        return last_page.page(self.terminal, self.checkout, summary)

    def footer(self) -> list[str]:
        keys = view.keys(self.phase, self.hint_points, in_round=bool(self.part))
        return screen.footer(self.terminal, keys, self.sentences())

    def sentences(self) -> list[str]:
        return super().sentences() or ([self.log.trouble] if self.log.trouble else [])

    def printed(self) -> list[str]:
        return super().printed() if self.phase == "work" else []
