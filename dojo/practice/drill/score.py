"""The points of a drill, computed from the outcomes of the final run."""

from collections.abc import Sequence

from dojo.core.catalog import Kata
from dojo.core.outcome import Outcome
from dojo.progress.session_state import StageResult
from dojo.progress.sessions import Event

STAGE_POINTS = {1: 40, 2: 25, 3: 20, 4: 15}  # scaled up to 100 for a kata with fewer stages
HINT_POINTS = 5  # that a hint costs


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


def points(results: Sequence[StageResult], hints: int) -> float:
    """0 to 100: the share of each stage's tests that pass, weighted by STAGE_POINTS, less the hints."""
    possible = sum(STAGE_POINTS[result.stage] for result in results)
    if not possible:
        return 0.0
    earned = sum(STAGE_POINTS[result.stage] * result.share for result in results)
    return round(max(0.0, 100 * earned / possible - HINT_POINTS * hints), 1)
