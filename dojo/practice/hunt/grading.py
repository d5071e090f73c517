"""The points of a hunt, from the outcomes of the final run and from what was changed in the file without need."""

from collections.abc import Callable, Iterable, Sequence

from dojo.core.outcome import Outcome
from dojo.practice.drill.grading import note_import_error
from dojo.practice.hunt.plant import failing_tests
from dojo.practice.hunt.repair import beyond_the_bugs, count_unneeded
from dojo.progress.session_state import HuntState
from dojo.progress.sessions import Session

HINT_POINTS = 10  # that a hint costs, which names the function that holds a bug, and the explanation of a failure
TIME_POINTS = 20  # lost when all the time is used
EXTRA_LINE_POINTS = 2  # for each line changed without need
MAX_EXTRA_LINES = 10  # more are not charged


def hunt_points(share: float, time_used: float, extra_lines: int, hints: int) -> float:
    """0 to 100: the share of bugs mended, less time used (0 to 1), lines changed without need, and hints."""
    lost = TIME_POINTS * time_used + EXTRA_LINE_POINTS * min(extra_lines, MAX_EXTRA_LINES) + HINT_POINTS * hints
    return round(max(0.0, 100 * share - lost), 1)


def grade_hunt(
    session: Session, hunt: HuntState, outcomes: Sequence[Outcome], failing: Callable[[str], frozenset[str] | None]
) -> None:
    """Sets which bugs are mended, and the points of `session`, by the outcomes of the final run.

    `failing(source)` runs the tests on another text and returns those that fail, or None if there is no verdict.
    """
    note_import_error(session, outcomes)
    ran, failed = {o.test for o in outcomes}, failing_tests(outcomes)
    for bug in hunt.bugs:
        bug.mended = bug.test in _functions(ran) - _functions(failed)
    attempt = session.attempt.read_text(encoding="utf-8", errors="replace")

    def fails_more(source: str) -> bool:
        now = failing(source)
        return now is None or not now <= failed

    share = sum(bool(bug.mended) for bug in hunt.bugs) / len(hunt.bugs)
    if share:
        hunt.extra_lines = count_unneeded(hunt.planted, attempt, hunt.working, fails_more)
    else:  # nothing was mended, so nothing was needed
        hunt.extra_lines = len(beyond_the_bugs(hunt.planted, attempt, hunt.working))
    if failed and share == 1:  # a repair that breaks something else is half a repair
        share = 0.5
    time_used = session.elapsed / (session.minutes * 60)
    session.points = hunt_points(share, time_used, hunt.extra_lines, session.state.hints_paid)


def _functions(tests: Iterable[str]) -> set[str]:
    """The test functions, without the parameters of the cases."""
    return {test.partition("[")[0] for test in tests}
