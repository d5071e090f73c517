"""The last page of a drill or hunt: its points, and what to do next."""

from dojo.core.catalog import Kata
from dojo.core.paths import Checkout
from dojo.practice.drill import last_page
from dojo.practice.drill.clock import clock_text
from dojo.practice.drill.grading import stage_points
from dojo.practice.hunt import view as hunt_view
from dojo.progress.sessions import Session, SessionLog
from dojo.room.html import render


def last_page_of(checkout: Checkout, kata: Kata, session: Session, log: SessionLog) -> str:
    """The last page of a drill or hunt that is over, as HTML."""
    if session.state.hunt:
        facts = hunt_view.facts(session, session.state.hunt)
        bugs = session.state.hunt.bugs
        return render("last_hunt", kata=kata, session=session, facts=facts, bugs=bugs, place=hunt_view.place)
    summary = last_page.summarise(session, kata, log)
    rows = [
        {
            "stage": result.stage,
            "asks": kata.stages[result.stage - 1] if result.stage <= len(kata.stages) else "",
            "tests": f"{result.passed}/{result.tests}" if result.tests else "-",
            "points": f"{points:.0f}",
            "at": clock_text(result.first_passed) if result.first_passed is not None else "-",
            "passes": result.share == 1,
        }
        for result, points in zip(summary.stages, stage_points(summary.stages), strict=True)
    ]
    return render(
        "last_drill",
        kata=kata,
        session=session,
        facts=last_page.facts(summary),
        rows=rows,
        advice=[*last_page.sentences(summary), *filter(None, [session.state.repeat_advice])],
        attempt=checkout.shown(session.attempt),
        failures=session.state.failures,
    )
