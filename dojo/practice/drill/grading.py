"""The end of a drill: the attempt is frozen, and the outcomes of its final run become points."""

from collections.abc import Sequence

from dojo.core.catalog import Kata
from dojo.core.files import write
from dojo.core.language import say
from dojo.core.outcome import Outcome
from dojo.engine.messages import JobDied
from dojo.progress.session_state import MAX_FAILURES, Failure, StageResult
from dojo.progress.sessions import Event, Session, SessionLog

STAGE_POINTS = {1: 40, 2: 25, 3: 20, 4: 15}  # scaled up to 100 for a kata with fewer stages
HINT_POINTS = 5  # that a hint costs, and the explanation of a failure
MAX_TOLD_CHARS = 2000  # of a failure on the last page


def freeze(session: Session) -> None:
    """Copies the file to `session.attempt`, unless that was done before. Later saves do not count."""
    if session.attempt.is_file():
        return
    session.attempt.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(session.attempt, session.file.read_bytes())
    except OSError:
        write(session.attempt, "")  # the file was deleted: there is nothing to grade


def passed_stages(session: Session, log: SessionLog) -> list[int]:
    """The stages that were passed while the drill went on."""
    return [int(event.detail) for event in log.events(session) if event.kind == "stage"]


def note_death(session: Session, died: JobDied) -> None:
    """Notes for the last page why the final run has no verdict."""
    trouble = say("The final run {why}", why=died.why)
    if died.test:
        trouble = say("The final run {why}, in {test}", why=died.why, test=died.test)
    session.state.trouble = session.state.trouble or trouble


def note_import_error(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Notes for the last page that the attempt could not be imported, if it could not."""
    error = next((o.message for o in outcomes if o.verdict == "error" and not o.stage), "")
    if error:
        session.state.trouble = error.partition("\n")[0]


def grade_drill(session: Session, kata: Kata, outcomes: Sequence[Outcome], log: SessionLog) -> None:
    """Sets the results and the points of `session` by the outcomes of the final run."""
    note_import_error(session, outcomes)
    session.state.results = stage_results(outcomes, log.events(session))
    failed = sorted((o for o in outcomes if o.stage and o.verdict in ("failed", "error")), key=lambda o: o.stage)
    session.state.failed = len(failed)
    session.state.failures = [Failure(o.test, o.message[:MAX_TOLD_CHARS]) for o in failed[:MAX_FAILURES]]
    session.points = points(graded_stages(session, kata), session.state.hints_paid)


def graded_stages(session: Session, kata: Kata) -> list[StageResult]:
    """The results to count: those of every stage if trouble kept some from being graded, else those that have tests."""
    results = session.state.results
    return with_missing_stages(results, kata) if session.state.trouble else results


def stage_results(outcomes: Sequence[Outcome], events: Sequence[Event]) -> list[StageResult]:
    """How many tests of each stage pass, and when the stage first passed according to `events`."""
    counted = [o for o in outcomes if o.verdict != "skipped" and o.stage]
    first_passed: dict[int, float] = {}
    for event in events:
        if event.kind == "stage":
            first_passed.setdefault(int(event.detail), event.elapsed)
    return [
        StageResult(
            stage,
            sum(o.verdict == "passed" for o in counted if o.stage == stage),
            sum(o.stage == stage for o in counted),
            first_passed.get(stage),
        )
        for stage in sorted({o.stage for o in counted})
    ]


def with_missing_stages(results: Sequence[StageResult], kata: Kata) -> list[StageResult]:
    """`results`, and 0 of 0 tests for each stage of the kata that is not among them."""
    by_stage = {result.stage: result for result in results}
    return [by_stage.get(n, StageResult(n, 0, 0, None)) for n in range(1, len(kata.stages) + 1)]


def stage_points(results: Sequence[StageResult]) -> list[float]:
    """The points of each stage, 100 in all: the share of its tests that pass, weighted by STAGE_POINTS.

    All are 0 while no test of the first stage passes: some tests of later stages, of argument checks for example, pass with
    functions that do nothing, or that always raise an exception.
    """
    possible = sum(STAGE_POINTS[result.stage] for result in results)
    has_begun = any(result.stage == 1 and result.passed for result in results)
    return [100 * STAGE_POINTS[result.stage] * result.share / possible if has_begun else 0.0 for result in results]


def points(results: Sequence[StageResult], hints: int) -> float:
    """0 to 100: the points of the stages, less the hints."""
    return round(max(0.0, sum(stage_points(results)) - HINT_POINTS * hints), 1)
