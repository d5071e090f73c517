"""The end of a drill: the attempt is frozen, and the outcomes of its final run become points."""

from collections.abc import Sequence

from dojo.core.catalog import Kata
from dojo.core.files import write
from dojo.core.outcome import Outcome
from dojo.engine.messages import JobDied
from dojo.practice.drill import score
from dojo.progress.session_state import StageResult
from dojo.progress.sessions import Session, SessionLog


def freeze(session: Session) -> None:
    """Copies the file to `session.attempt`, unless that was done before. Later saves do not count."""
    if session.attempt.is_file():
        return
    session.attempt.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(session.attempt, session.file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        write(session.attempt, "")  # the file was deleted: there is nothing to grade


def passed_stages(session: Session, log: SessionLog) -> list[int]:
    """The stages that were passed while the drill went on."""
    return [int(event.detail) for event in log.events(session) if event.kind == "stage"]


def note_death(session: Session, died: JobDied) -> None:
    """Notes for the last page why the final run has no verdict."""
    where = f", in {died.test}" if died.test else ""
    session.state.trouble = session.state.trouble or f"The final run {died.why}{where}"


def note_import_error(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Notes for the last page that the attempt could not be imported, if it could not."""
    error = next((o.message for o in outcomes if o.verdict == "error" and not o.stage), "")
    if error:
        session.state.trouble = error.partition("\n")[0]


def grade_drill(session: Session, kata: Kata, outcomes: Sequence[Outcome], log: SessionLog) -> None:
    """Sets the results and the points of `session` by the outcomes of the final run."""
    note_import_error(session, outcomes)
    session.state.results = score.stage_results(outcomes, log.events(session))
    session.points = score.points(graded_stages(session, kata), session.state.hints)


def graded_stages(session: Session, kata: Kata) -> list[StageResult]:
    """The results to count: those of every stage if trouble kept some from being graded, else those that have tests."""
    results = session.state.results
    return score.with_missing_stages(results, kata) if session.state.trouble else results
