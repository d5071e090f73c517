"""The points of a hunt, from the outcomes of the final run and from what was changed in the file."""

from collections.abc import Sequence

from dojo.core.outcome import Outcome
from dojo.practice.drill.grading import note_import_error
from dojo.practice.hunt.plant import count_extra_lines
from dojo.progress.session_state import HuntState
from dojo.progress.sessions import Session

HINT_POINTS = 10  # that a hint costs, which names the function that holds a bug
TIME_POINTS = 20  # lost when all the time is used
EXTRA_LINE_POINTS = 2  # for each changed line that held no bug
MAX_EXTRA_LINES = 10  # more are not charged


def hunt_points(share: float, time_used: float, extra_lines: int, hints: int) -> float:
    """0 to 100: the share of bugs mended, less time used (0 to 1), changed lines that held no bug, and hints."""
    lost = TIME_POINTS * time_used + EXTRA_LINE_POINTS * min(extra_lines, MAX_EXTRA_LINES) + HINT_POINTS * hints
    return round(max(0.0, 100 * share - lost), 1)


def grade_hunt(session: Session, hunt: HuntState, outcomes: Sequence[Outcome]) -> None:
    """Sets which bugs are mended, and the points of `session`, by the outcomes of the final run."""
    note_import_error(session, outcomes)
    ran = {_function(o) for o in outcomes}
    failed = {_function(o) for o in outcomes if o.verdict not in ("passed", "skipped")}
    for bug in hunt.bugs:
        bug.mended = bug.test in ran - failed
    attempt = session.attempt.read_text(encoding="utf-8", errors="replace")
    hunt.extra_lines = count_extra_lines(hunt.planted, attempt, hunt.working)
    share = sum(bool(bug.mended) for bug in hunt.bugs) / len(hunt.bugs)
    if failed and share == 1:  # a repair that breaks something else is half a repair
        share = 0.5
    time_used = session.elapsed / (session.minutes * 60)
    session.points = hunt_points(share, time_used, hunt.extra_lines, session.state.hints)


def _function(outcome: Outcome) -> str:
    """The test function, without the parameters of the case."""
    return outcome.test.partition("[")[0]
