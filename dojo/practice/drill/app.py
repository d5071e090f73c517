"""The loop of a drill: a clock, saves, verdicts and keys come in; the interview goes on from stage to stage.

The drill's clock runs while the drill is open and not paused, in an editor too. A computer that sleeps, or a clock that
somebody sets, moves it by nothing: it is counted in `clock.monotonic()`. What was slept is recorded as a pause.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import wait
from typing import IO

from rich.padding import Padding

from dojo.core import clock
from dojo.core.catalog import FollowUp, Kata
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.engine.file_watcher import Contents, Saves
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Diagnosed, Job, JobDied, Ready, Verdict
from dojo.practice import screen
from dojo.practice.drill import lock, score, view
from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Log, Session

QUESTIONS = 3  # follow-ups asked at the end
NUMBERS = count(1)  # of jobs; the parts of a round share a warm process, so they share these
HEARTBEAT = 2.0  # seconds between two records of the clock


class DrillApp:
    """One drill, from its first question (or where it was left) to the last page."""

    hint_cost = score.HINT

    def __init__(
        self,
        checkout: Checkout,
        kata: Kata,
        session: Session,
        log: Log,
        terminal: Terminal,
        part: str = "",
        forkserver: ForkServer | None = None,
    ):
        self.checkout, self.kata, self.session, self.log, self.terminal = checkout, kata, session, log, terminal
        self.part = part  # "2 of 3: " in a mock interview
        self.next_part = False  # asked for at the end of a part
        self.held = self.hold()
        self.lent = forkserver  # whoever lends one ends it
        self.forkserver = forkserver or ForkServer(checkout)
        self.saves = Saves(session.folder)
        self.contents = Contents(session.folder)
        self.watched = LiveRun(kata)
        self.jobs = 0
        self.graded_to: int | None = None  # the final run is of all stages, or of those up to this one
        self.unrecorded: Verdict | None = None
        self.phase: str = session.detail.get("phase", "work")
        self.told = ""
        self.reading: Callable[[], list[str]] | None = None
        self.finishing = False
        self.scroll = 0
        self.done = False
        self.seen, self.ticked = clock.now(), clock.monotonic()
        self.beat = time.monotonic()
        self.asked: list[FollowUp] = list(kata.follow_ups[:QUESTIONS])
        if self.phase == "paused" or "seen" in session.detail:
            self.go_on()  # it was left, or killed: the time since then is a pause
        if self.phase == "work":
            self.start()
        elif self.phase == "grading":
            self.grade()

    @property
    def stage(self) -> int:
        return int(self.session.detail["stage"])

    def hold(self) -> IO[str] | None:
        try:
            held = lock.take(self.session.folder)
        except OSError:
            return None  # an unwritable folder: not the moment to say so
        if held is None:
            shown = self.checkout.shown(self.session.folder)
            raise UserError(f"{shown} is open in another terminal. Go on there, or begin another: kata drill")
        return held

    def run(self) -> list[str]:
        """Returns the last page, to be printed where it stays; empty when the drill was left before its end."""
        try:
            while not self.done:
                self.draw()
                self.turn()
        except KeyboardInterrupt:
            self.leave()
        finally:
            self.record()
            self.log.save(self.session)
            self.saves.close()
            if not self.lent:
                self.forkserver.close()
            if self.held:
                self.held.close()
        return self.page() if self.phase == "done" else []

    def turn(self) -> None:
        sources = [self.terminal.keys, self.saves.connection, self.forkserver.connection]
        ready = wait(sources, timeout=0.25)
        self.tick()
        if self.saves.connection in ready:
            names = self.saves.connection.recv()
            if self.phase == "work" and self.contents.changed(names):
                self.told, self.reading, self.scroll, self.finishing = "", None, 0, False
                self.start()
        if self.forkserver.connection in ready:
            for message in self.forkserver.messages():
                self.hear(message)
        if self.terminal.keys in ready:
            self.press(self.terminal.keys.recv())

    # -- time

    def tick(self) -> None:
        """Moves the drill's own clock."""
        now, ticks = clock.now(), clock.monotonic()
        if self.phase == "work":
            worked = max(0.0, ticks - self.ticked)
            self.session.elapsed += worked
            slept = now - self.seen - worked
            if slept > HEARTBEAT and ticks >= self.ticked:
                self.session.detail["paused"] = self.session.detail.get("paused", 0.0) + slept
                self.log.note(self.session, "sleep", f"{slept:.0f}")
            if self.session.left <= 0:
                self.session.elapsed = self.session.minutes * 60
                self.log.note(self.session, "time")
                self.grade()
            elif time.monotonic() - self.beat > HEARTBEAT:
                self.beat = time.monotonic()
                self.session.detail["seen"] = now
                self.log.save(self.session)
        self.seen, self.ticked = now, ticks

    def go_on(self) -> None:
        """Ends a pause, and counts it."""
        detail = self.session.detail
        detail["paused"] = detail.get("paused", 0.0) + max(0.0, clock.now() - detail.pop("seen", clock.now()))
        if self.phase == "paused":
            self.phase = detail["phase"] = "work"
        self.seen, self.ticked = clock.now(), clock.monotonic()
        self.log.note(self.session, "resume")
        if self.contents.changed({self.kata.name}):
            self.start()  # saved during the pause

    def turn_to(self, phase: str) -> None:
        self.phase = self.session.detail["phase"] = phase
        self.reading, self.scroll, self.finishing = None, 0, False
        self.log.save(self.session)

    # -- runs

    def start(self) -> None:
        self.record()
        self.jobs = next(NUMBERS)
        self.watched.begin(self.jobs, time.monotonic())
        self.forkserver.submit(self.job())

    def job(self) -> Job:
        return Job(self.jobs, self.kata.name, self.session.folder, stage=self.stage)

    def grade(self) -> None:
        """Freezes the attempt: what is written from now on does not count."""
        frozen = self.session.folder / "attempt" / f"{self.kata.name}.py"
        if not frozen.is_file():
            frozen.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(frozen, self.session.file.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                write(frozen, "")  # the file was deleted: there is nothing to grade
        self.record()
        self.session.detail.pop("seen", None)
        self.turn_to("grading")
        self.submit(None)

    def submit(self, stage: int | None) -> None:
        """Runs the frozen attempt."""
        self.jobs = next(NUMBERS)
        self.watched.begin(self.jobs, time.monotonic())
        self.graded_to = stage
        self.forkserver.submit(
            Job(self.jobs, self.kata.name, self.session.folder / "attempt", stage=stage, naming=False)
        )

    def hear(self, message: object) -> None:
        if isinstance(message, Ready) or not self.watched.take(message, time.monotonic()):  # type: ignore[arg-type]
            return
        if isinstance(message, JobDied) and message.number == 0:
            self.grade() if self.phase == "grading" else self.start()
        elif self.phase == "grading" and isinstance(message, JobDied):
            self.grade_less(message)
        elif self.phase == "grading" and isinstance(message, Verdict):
            self.judge(message.outcomes)
        elif isinstance(message, Verdict):
            self.unrecorded = message
            if message.all_passed:
                self.record()
                self.pass_stage()
            elif not any(o.verdict == "failed" for o in message.outcomes):
                self.record()
        elif isinstance(message, Diagnosed):
            self.record()

    def record(self) -> None:
        told, self.unrecorded = self.unrecorded, None
        if told:
            self.session.detail["runs"] = self.session.detail.get("runs", 0) + 1  # also where no history can be written
            self.log.run(self.session, told, self.watched.named)

    def pass_stage(self) -> None:
        """The interviewer goes on; after the last stage the drill is over."""
        self.log.note(self.session, "stage", str(self.stage))
        if self.stage >= len(self.kata.stages):
            self.grade()
            return
        self.session.detail["stage"] = self.stage + 1
        self.log.save(self.session)
        self.start()

    def grade_less(self, lost: JobDied) -> None:
        """The frozen attempt gave no verdict: the stages that were passed on the way are graded without the others."""
        where = f", in {lost.test}" if lost.test else ""
        self.session.detail.setdefault("trouble", f"The final run {lost.why}{where}")
        passed = self.passed_stages()
        if passed and self.graded_to is None:
            self.submit(max(passed))
        else:
            self.judge(())

    def passed_stages(self) -> list[int]:
        return [int(event.detail) for event in self.log.events(self.session) if event.what == "stage"]

    def judge(self, outcomes: tuple[Outcome, ...]) -> None:
        broken = next((o.message for o in outcomes if o.verdict == "error" and not o.stage), "")
        if broken:
            self.session.detail["trouble"] = broken.partition("\n")[0]
        results = score.stage_results(outcomes, self.log.events(self.session))
        self.session.points = score.points(self.with_missing(results), self.hints())
        self.session.detail["results"] = [[r.stage, r.passed, r.tests, r.at] for r in results]
        self.session.detail.setdefault("ratings", [])
        self.log.note(self.session, "grade", f"{self.session.points:g}")
        self.ask()

    def hints(self) -> int:
        return int(self.session.detail.get("hints", 0))

    # -- afterwards

    def ask(self) -> None:
        if len(self.session.detail["ratings"]) < len(self.asked):
            self.turn_to("asking")
        else:
            self.session.ended = clock.now()
            self.turn_to("done")
            self.log.note(self.session, "end")
            self.session.detail["again"] = self.again()
            self.log.save(self.session)

    def page(self) -> list[str]:
        found = self.summary()
        return view.summary(self.terminal, found, score.sentences(found) + self.advice())

    def summary(self) -> score.Summary:
        detail = self.session.detail
        return score.Summary(
            self.session,
            self.kata,
            self.with_missing([score.StageResult(*row) for row in detail.get("results", [])]),
            max(self.log.runs(self.session), detail.get("runs", 0)),
            self.hints(),
            float(detail.get("paused", 0.0)),
            self.log.first_mistake(self.session),
            detail.get("ratings", []),
            self.log.earlier_drills(self.session),
        )

    def with_missing(self, results: list[score.StageResult]) -> list[score.StageResult]:
        """All stages, when trouble kept some from being graded."""
        return score.complete(results, self.kata) if self.session.detail.get("trouble") else results

    def again(self) -> str:
        """When to solve it again. The drill's page comes with or without it."""
        if self.session.kind != "drill" or not self.session.id:
            return ""
        try:
            from dojo.core import humanize
            from dojo.core.catalog import load_catalog
            from dojo.progress.schedule import due_dates

            dates = due_dates(self.checkout, load_catalog(self.checkout))
            due = next(item for item in dates if item.kata.name == self.kata.name)
        except Exception:
            return ""
        now = clock.now()
        return f"Rated {due.last.word}. To solve again {humanize.when_due(due.at, now)}, {humanize.day(due.at, now)}: kata due"

    def advice(self) -> list[str]:
        file = self.checkout.shown(self.session.folder / "attempt" / f"{self.kata.name}.py")
        kept = f"Your attempt is kept in {file}. The reference: kata solution {self.kata.name} --give-up"
        return [*filter(None, [self.session.detail.get("again", "")]), kept]

    def question(self) -> list[str]:
        return view.question(self.terminal, self.kata, self.stage, self.watched)

    def show(self, title: str, text: str) -> None:
        self.reading = lambda: screen.page(self.terminal, title, text)

    # -- keys

    def press(self, key: str) -> None:
        if key == "resized":
            self.terminal.redraw()
            return
        finishing, self.finishing = self.finishing, False
        self.told = ""
        if key in ("up", "down", "page up", "page down", "space"):
            step = {"up": -1, "down": 1, "space": 10, "page up": -10, "page down": 10}[key]
            self.scroll = max(0, self.scroll + step)
        elif key == "q" and self.reading:
            self.reading = None
        elif key == "q":
            self.leave()
        elif self.phase == "work":
            self.press_at_work(key, finishing)
        elif self.phase == "paused" and key == "p":
            self.go_on()
        elif self.phase == "asking" and key in ("enter", "space"):
            self.turn_to("answered")
        elif self.phase == "done" and key == "enter" and self.part:
            self.next_part = self.done = True
        elif self.phase == "answered" and key in ("1", "2", "3"):
            self.session.detail["ratings"].append(int(key))
            self.log.note(self.session, "follow-up", key)
            self.ask()

    def press_at_work(self, key: str, finishing: bool) -> None:
        if key == "h":
            self.hint()
        elif key == "p":
            self.pause()
        elif key == "t":
            self.reading = lambda: screen.tests(self.terminal, self.watched)
        elif key == "e":
            self.edit()
        elif key == "r" and not self.session.file.is_file():
            self.restore()
        elif key == "f":
            if finishing:
                self.grade()
            else:
                self.finishing, self.told = True, "Finish now and be graded? f again finishes, any other key goes on."
        elif key in ("enter", "escape"):
            self.reading = None

    def hint(self) -> None:
        taken = self.hints()
        if taken < len(self.kata.hints):
            self.session.detail["hints"] = taken + 1
            self.log.note(self.session, "hint", str(taken + 1))
        number = min(taken + 1, len(self.kata.hints))
        text = self.kata.hints[number - 1] if number else "This kata has no hints."
        self.show(f"Hint {number} of {len(self.kata.hints)}", text + "\n\nEnter goes back.")

    def edit(self) -> None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self.told = f"No editor is set (EDITOR). Open {self.checkout.shown(self.session.file)} yourself."
            return
        with self.terminal.lent():
            try:
                editing = subprocess.Popen([*shlex.split(editor), str(self.session.file)])
                while editing.poll() is None:
                    self.turn()  # time may be up before the editor is closed
            except (OSError, ValueError) as error:
                self.told = f"{editor} could not be started ({error})."

    def restore(self) -> None:
        """The file, or its whole folder, was deleted: there is a fresh one."""
        try:
            self.session.folder.mkdir(parents=True, exist_ok=True)
            write(self.session.file, self.beginning())
        except (OSError, UserError) as error:
            self.told = str(error)
            return
        self.saves.close()
        self.saves, self.contents = Saves(self.session.folder), Contents(self.session.folder)
        self.start()

    def beginning(self) -> str:
        return stub(self.checkout, self.kata.name)

    def leave(self) -> None:
        """The clock stands still until `kata drill --resume`."""
        if self.phase == "work":
            self.pause()
        self.done = True

    def pause(self) -> None:
        self.session.detail["seen"] = clock.now()
        self.log.note(self.session, "pause")
        self.turn_to("paused")

    # -- the screen

    def draw(self) -> None:
        shown = self.checkout.shown(self.session.file)
        top = view.header(self.terminal, self.session, self.kata, shown, self.phase, self.part)
        if self.phase == "work":
            top += [*self.question(), screen.rule(self.terminal)]
        keys = view.keys(self.phase, self.hint_cost, mock=bool(self.part))
        bottom = view.footer(self.terminal, keys, self.told or self.log.trouble)
        body = self.reading() if self.reading else self.middle(shown)
        top = top[: max(1, self.terminal.size[1] - len(bottom) - 3)]  # in a small window the keys stay
        self.scroll = max(0, min(self.scroll, len(body) - 1))
        self.terminal.draw(screen.frame(self.terminal, top, body, bottom, scroll=self.scroll))

    @property
    def waits_for_code(self) -> bool:
        """The question stands above already; here is what is to be written."""
        watched = self.watched
        return self.session.file.is_file() and bool(watched.unwritten) and not (watched.failure or watched.lost)

    def middle(self, shown: str) -> list[str]:
        lines = self.terminal.lines
        if self.phase == "work" and self.waits_for_code:
            todo = [screen.said(sentence) for sentence in self.watched.unwritten]
            return lines("", *todo, "", screen.said("Save the file and the tests run. e opens your editor.", "dim"))
        if self.phase == "work":
            return screen.verdict(self.terminal, shown, self.watched, not self.session.file.is_file())
        if self.phase == "paused":
            return lines("", screen.said("The clock stands. The pause is recorded. p goes on."))
        if self.phase == "grading":
            return lines("", screen.said("That was it. Your attempt is frozen and being graded ..."))
        if self.phase in ("asking", "answered"):
            number = len(self.session.detail["ratings"])
            asked = self.asked[number]
            head = screen.said(f"{self.session.points:g} points. Follow-up question {number + 1} of {len(self.asked)}")
            parts: list[Padding | str] = ["", head, "", screen.said(asked.question, "bold"), ""]
            if self.phase == "asking":
                return lines(*parts, screen.said("Answer aloud, as you would in the room. Then press Enter.", "dim"))
            how = "How was yours?  1 missed it   2 partly   3 had it"
            return lines(*parts, screen.said(asked.answer), "", screen.said(how, "yellow"))
        return self.page()
