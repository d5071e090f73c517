"""Points and the page at the end of a drill. Plain functions of what was recorded."""

from dataclasses import dataclass

from dojo.core.catalog import Kata
from dojo.core.outcome import Outcome
from dojo.progress.sessions import Event, Session

WEIGHTS = {1: 40, 2: 25, 3: 20, 4: 15}
HINT = 5  # points that a hint costs


@dataclass(frozen=True)
class StageResult:
    """One stage of the final grading; `at` is when it was first passed in the drill, in seconds, None if never."""

    stage: int
    passed: int
    tests: int
    at: float | None

    @property
    def share(self) -> float:
        return self.passed / self.tests if self.tests else 0.0


def stage_results(outcomes: tuple[Outcome, ...], events: list[Event]) -> list[StageResult]:
    """How the frozen attempt did, stage by stage."""
    counted = [o for o in outcomes if o.verdict != "skipped" and o.stage]
    first: dict[int, float] = {}
    for event in events:
        if event.what == "stage":
            first.setdefault(int(event.detail), event.elapsed)
    return [
        StageResult(
            stage,
            sum(o.verdict == "passed" for o in counted if o.stage == stage),
            sum(o.stage == stage for o in counted),
            first.get(stage),
        )
        for stage in sorted({o.stage for o in counted})
    ]


def complete(results: list[StageResult], kata: Kata) -> list[StageResult]:
    """With a row of nothing for each stage of which no test could be run."""
    known = {result.stage: result for result in results}
    return [known.get(n, StageResult(n, 0, 0, None)) for n in range(1, len(kata.stages) + 1)]


def points(stages: list[StageResult], hints: int) -> float:
    """0 to 100: each stage's share of passing tests, by weight, less the hints."""
    whole = sum(WEIGHTS[result.stage] for result in stages)
    if not whole:
        return 0.0
    earned = sum(WEIGHTS[r.stage] * r.share for r in stages)
    return round(max(0.0, 100 * earned / whole - HINT * hints), 1)


def clock_text(seconds: float) -> str:
    """`7:05`, and `1:02:03` from an hour on."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


@dataclass(frozen=True)
class Summary:
    """What the last page says."""

    session: Session
    kata: Kata
    stages: list[StageResult]
    runs: int
    hints: int
    pauses: float  # seconds
    first_mistake: str
    ratings: list[int]  # one for each follow-up question answered, 1 to 3
    earlier: list[Session]  # finished drills of the same kata


def sentences(summary: Summary) -> list[str]:
    """What to take away, most important first."""
    session, kata = summary.session, summary.kata
    found = []
    if trouble := session.detail.get("trouble"):
        found.append(f"{trouble}: what it did not reach gives no points.")
    missing = [r for r in summary.stages if r.share < 1]
    if not missing:
        found.append(f"All stages stand after {clock_text(session.elapsed)}.")
    else:
        first = missing[0]
        text = kata.stages[first.stage - 1] if first.stage <= len(kata.stages) else ""
        count = f"{first.passed} of {first.tests} tests pass" if first.tests else "it could not be graded"
        found.append(f"Repeat from stage {first.stage} ({text}): {count}.")
    if summary.first_mistake:
        found.append(f"The first mistake: {summary.first_mistake}.")
    finished = [s for s in summary.earlier if s.points is not None]
    if finished:
        best = max(s.points or 0.0 for s in finished)
        last = finished[-1].points or 0.0
        now = session.points or 0.0
        change = "better than" if now > last else "as good as" if now == last else "below"
        found.append(
            f"{now:g} points, {change} last time ({last:g}); your best of {len(finished)} earlier drills is {best:g}."
        )
    else:
        found.append("Your first drill of this kata.")
    return found
