"""The loop of a hunt: a drill without stages, on a file that somebody broke."""

from rich.padding import Padding

from dojo.core.humanize import count
from dojo.core.outcome import Outcome
from dojo.engine.messages import Job
from dojo.practice.drill import score
from dojo.practice.drill.app import DrillApp
from dojo.practice.hunt.plant import touched_beyond
from dojo.practice.screen import said

HINT = 10  # points for being told in which function a bug sits
SLOW = 20  # points lost when all the time is used
LINE = 2  # points for each line touched that was right
LINES = 10  # no more than so many are charged


def hunt_points(share: float, time_used: float, extra: int, hints: int) -> float:
    """0 to 100: the share of bugs found, less time (0 to 1), lines touched without need, and hints."""
    return round(max(0.0, 100 * share - SLOW * time_used - LINE * min(extra, LINES) - HINT * hints), 1)


class HuntApp(DrillApp):
    """Its session's detail holds the planted mistakes: name, says, test, function."""

    hint_cost = HINT
    verb = "Some lines of this working implementation are wrong now. Make every test pass, and touch nothing else."

    @property
    def bugs(self) -> list[dict[str, str]]:
        return self.session.detail["bugs"]

    def job(self) -> Job:
        return Job(self.jobs, self.kata.name, self.session.folder, naming=False)  # the name would be the answer

    def beginning(self) -> str:
        return str(self.session.detail["planted"])

    def passed_stages(self) -> list[int]:
        return []

    def pass_stage(self) -> None:
        self.log.note(self.session, "stage", "1")
        self.grade()

    def question(self) -> list[str]:
        number = len(self.bugs)
        bugs = "One bug is" if number == 1 else f"{number} bugs are"
        line = f"{bugs} planted. {self.verb}"
        state = ""
        if self.watched.verdict:
            failing = len(self.watched.verdict.counted) - self.watched.verdict.passed
            state = f"{count(failing, 'test fails', 'tests fail')}" + (", running" if self.watched.waiting else "")
        return self.terminal.lines(said(line, "bold"), said(state or "running", "yellow"))

    def hint(self) -> None:
        taken = min(self.hints() + 1, len(self.bugs))
        if taken > self.hints():
            self.session.detail["hints"] = taken
            self.log.note(self.session, "hint", str(taken))
        places = "\n".join(f"- {bug['where']}" for bug in self.bugs[:taken])
        self.show(
            f"{taken} of {len(self.bugs)} bugs", f"{places}\n\nEach such hint costs {HINT} points. Enter goes back."
        )

    def judge(self, outcomes: tuple[Outcome, ...]) -> None:
        detail = self.session.detail
        wrong = {o.test.partition("[")[0] for o in outcomes if o.verdict not in ("passed", "skipped")}
        ran = {o.test.partition("[")[0] for o in outcomes}
        for bug in self.bugs:
            bug["found"] = "yes" if bug["test"] in ran and bug["test"] not in wrong else ""
        broken = next((o.message for o in outcomes if o.verdict == "error" and not o.stage), "")
        if broken:
            detail["trouble"] = broken.partition("\n")[0]
        frozen = (self.session.folder / "attempt" / f"{self.kata.name}.py").read_text(encoding="utf-8")
        detail["extra"] = touched_beyond(detail["planted"], frozen, detail["working"])
        share = sum(bool(bug["found"]) for bug in self.bugs) / len(self.bugs)
        if wrong and share == 1:  # a repair that breaks something else is none
            share = 0.5
        used = self.session.elapsed / (self.session.minutes * 60)
        self.session.points = hunt_points(share, used, detail["extra"], self.hints())
        detail["ratings"], self.asked = [], []
        self.log.note(self.session, "grade", f"{self.session.points:g}")
        self.ask()

    def page(self) -> list[str]:
        detail = self.session.detail
        found = [bug for bug in self.bugs if bug.get("found")]
        facts = (
            f"{len(found)} of {len(self.bugs)} bugs mended in {score.clock_text(self.session.elapsed)} of "
            f"{score.clock_text(self.session.minutes * 60)}, {count(detail.get('extra', 0), 'line')} touched beyond them, "
            f"{count(self.hints(), 'hint')}, seed {detail['seed']}"
        )
        parts: list[Padding | str] = [
            "",
            said(f"Bug hunt, {self.kata.title}: {self.session.points:g} points", "bold green"),
        ]
        parts += [said(facts, "dim"), ""]
        if trouble := detail.get("trouble"):
            parts += [said(f"{trouble}: so no bug counts as mended."), ""]
        for bug in self.bugs:
            mark = said(f"{'✓' if bug.get('found') else '✗'} {bug['where']}: {bug['name']}", "bold")
            parts += [mark, said(f"{bug['says']}. Caught by {bug['test']}.", "", 3)]
        again = f"Again with other bugs: kata hunt {self.kata.name} --bugs {len(self.bugs)}"
        parts += ["", said(again)]
        return self.terminal.lines(*parts)
