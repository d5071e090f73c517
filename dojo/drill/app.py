"""The loop of a drill: a clock, saves, verdicts and keys come in; the interview goes on from stage to stage."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import wait

from rich.padding import Padding

from dojo import clock
from dojo.catalog import FollowUp, Kata
from dojo.drill import grade as grading
from dojo.drill import view
from dojo.drill.session import Log, Session
from dojo.nursery import Job, Lost, Named, Nursery, Ready, Verdict
from dojo.outcome import Outcome
from dojo.paths import Checkout
from dojo.terminal import Terminal
from dojo.watch import view as watching
from dojo.watch.saves import Contents, Saves
from dojo.watch.state import Watched
from dojo.workshop import write

QUESTIONS = 3  # follow-ups asked at the end
HEARTBEAT = 2.0  # seconds between two records of the clock


class DrillApp:
    """One drill, from its first question (or where it was left) to the last page."""

    hint_cost = grading.HINT

    def __init__(self, checkout: Checkout, kata: Kata, session: Session, log: Log, terminal: Terminal, part: str = ""):
        self.checkout, self.kata, self.session, self.log, self.terminal = checkout, kata, session, log, terminal
        self.part = part  # "2 of 3: " in a mock interview
        self.next_part = False  # asked for at the end of a part
        self.nursery = Nursery(checkout)
        self.saves = Saves(session.folder)
        self.contents = Contents(session.folder)
        self.watched = Watched(kata)
        self.jobs = 0
        self.unrecorded: Verdict | None = None
        self.phase: str = session.detail.get("phase", "work")
        self.told = ""
        self.reading: Callable[[], list[str]] | None = None
        self.finishing = False
        self.scroll = 0
        self.done = False
        self.seen = clock.now()
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

    def run(self) -> list[str]:
        """Returns the last page, to be printed where it stays; empty when the drill was left before its end."""
        try:
            while not self.done:
                self.draw()
                self.turn()
        except KeyboardInterrupt:
            self.leave()
        finally:
            self.log.save(self.session)
            self.saves.close()
            self.nursery.close()
        return self.page() if self.phase == "done" else []

    def turn(self) -> None:
        sources = [self.terminal.keys, self.saves.connection, self.nursery.connection]
        ready = wait(sources, timeout=0.25)
        self.tick()
        if self.saves.connection in ready:
            names = self.saves.connection.recv()
            if self.phase == "work" and self.contents.changed(names):
                self.told, self.reading, self.scroll, self.finishing = "", None, 0, False
                self.start()
        if self.nursery.connection in ready:
            for message in self.nursery.messages():
                self.hear(message)
        if self.terminal.keys in ready:
            self.press(self.terminal.keys.recv())

    # -- time

    def tick(self) -> None:
        """Moves the drill's own clock; a suspended computer or a clock set back adds nothing absurd."""
        now = clock.now()
        if self.phase == "work":
            self.session.elapsed += max(0.0, now - self.seen)
            if self.session.left <= 0:
                self.session.elapsed = self.session.minutes * 60
                self.log.note(self.session, "time")
                self.grade()
            elif time.monotonic() - self.beat > HEARTBEAT:
                self.beat = time.monotonic()
                self.session.detail["seen"] = now
                self.log.save(self.session)
        self.seen = now

    def go_on(self) -> None:
        """Ends a pause, and counts it."""
        detail = self.session.detail
        detail["paused"] = detail.get("paused", 0.0) + max(0.0, clock.now() - detail.pop("seen", clock.now()))
        if self.phase == "paused":
            self.phase = detail["phase"] = "work"
        self.seen = clock.now()
        self.log.note(self.session, "resume")

    def turn_to(self, phase: str) -> None:
        self.phase = self.session.detail["phase"] = phase
        self.reading, self.scroll, self.finishing = None, 0, False
        self.log.save(self.session)

    # -- runs

    def start(self) -> None:
        self.record()
        self.jobs += 1
        self.watched.begin(self.jobs, time.monotonic())
        self.nursery.submit(self.job())

    def job(self) -> Job:
        return Job(self.jobs, self.kata.name, self.session.folder, stage=self.stage)

    def grade(self) -> None:
        """Freezes the attempt: what is written from now on does not count."""
        frozen = self.session.folder / "attempt" / f"{self.kata.name}.py"
        if not frozen.is_file():
            frozen.parent.mkdir(exist_ok=True)
            try:
                write(frozen, self.session.file.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                write(frozen, "")  # the file was deleted: there is nothing to grade
        self.record()
        self.session.detail.pop("seen", None)
        self.turn_to("grading")
        self.jobs += 1
        self.watched.begin(self.jobs, time.monotonic())
        self.nursery.submit(Job(self.jobs, self.kata.name, frozen.parent))

    def hear(self, message: object) -> None:
        if isinstance(message, Ready) or not self.watched.take(message, time.monotonic()):  # type: ignore[arg-type]
            return
        if isinstance(message, Lost) and message.number == 0:
            self.grade() if self.phase == "grading" else self.start()
        elif self.phase == "grading" and isinstance(message, Verdict | Lost):
            self.judge(message.outcomes if isinstance(message, Verdict) else ())
        elif isinstance(message, Verdict):
            self.unrecorded = message
            if message.all_passed:
                self.record()
                self.pass_stage()
            elif not any(o.verdict == "failed" for o in message.outcomes):
                self.record()
        elif isinstance(message, Named):
            self.record()

    def record(self) -> None:
        told, self.unrecorded = self.unrecorded, None
        if told:
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

    def judge(self, outcomes: tuple[Outcome, ...]) -> None:
        events = self.log.events(self.session)
        results = grading.stage_results(outcomes, events)
        self.session.points = grading.points(results, self.hints())
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

    def page(self) -> list[str]:
        found = self.summary()
        return view.summary(self.terminal, found, grading.sentences(found) + self.advice())

    def summary(self) -> grading.Summary:
        detail = self.session.detail
        return grading.Summary(
            self.session,
            self.kata,
            [grading.StageResult(*row) for row in detail.get("results", [])],
            self.log.runs(self.session),
            self.hints(),
            float(detail.get("paused", 0.0)),
            self.log.first_mistake(self.session),
            detail.get("ratings", []),
            self.log.sessions("kata = ? AND kind = 'drill' AND id < ? AND ended", self.kata.name, self.session.id),
        )

    def advice(self) -> list[str]:
        file = self.checkout.shown(self.session.folder / "attempt" / f"{self.kata.name}.py")
        return [f"Your attempt is kept in {file}. The reference: kata solution {self.kata.name} --give-up"]

    def question(self) -> list[str]:
        return view.question(self.terminal, self.kata, self.stage, self.watched)

    def show(self, title: str, text: str) -> None:
        self.reading = lambda: watching.page(self.terminal, title, text)

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
            self.reading = lambda: watching.tests(self.terminal, self.watched)
        elif key == "e":
            self.edit()
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
                subprocess.run([*shlex.split(editor), str(self.session.file)], check=False)
            except (OSError, ValueError) as error:
                self.told = f"{editor} could not be started ({error})."

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
            top += [*self.question(), watching.rule(self.terminal)]
        keys = view.keys(self.phase, self.hint_cost, mock=bool(self.part))
        bottom = view.footer(self.terminal, keys, self.told or self.log.trouble)
        body = self.reading() if self.reading else self.middle(shown)
        self.scroll = max(0, min(self.scroll, len(body) - 1))
        self.terminal.draw(watching.frame(self.terminal, top, body, bottom, scroll=self.scroll))

    def middle(self, shown: str) -> list[str]:
        lines = self.terminal.lines
        if self.phase == "work":
            return watching.verdict(self.terminal, shown, self.watched, not self.session.file.is_file())
        if self.phase == "paused":
            return lines("", watching.said("The clock stands. The pause is recorded. p goes on."))
        if self.phase == "grading":
            return lines("", watching.said("That was it. Your attempt is frozen and being graded ..."))
        if self.phase in ("asking", "answered"):
            number = len(self.session.detail["ratings"])
            asked = self.asked[number]
            head = watching.said(
                f"{self.session.points:g} points. Follow-up question {number + 1} of {len(self.asked)}"
            )
            parts: list[Padding | str] = ["", head, "", watching.said(asked.question, "bold"), ""]
            if self.phase == "asking":
                return lines(*parts, watching.said("Answer aloud, as you would in the room. Then press Enter.", "dim"))
            how = "How was yours?  1 missed it   2 partly   3 had it"
            return lines(*parts, watching.said(asked.answer), "", watching.said(how, "yellow"))
        return self.page()
