"""A mock interview: what its parts ask for, how they are chosen, and its last page. It is a session whose parts are sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.practice.drill.choose import least_recent
from dojo.practice.drill.grading import HINT_POINTS
from dojo.practice.hunt.grading import HINT_POINTS as HUNT_HINT_POINTS
from dojo.practice.hunt.start import solved_of
from dojo.practice.start_page import StartPage
from dojo.progress.session_state import DrillState, RoundPart
from dojo.progress.sessions import Session, SessionLog


@dataclass(frozen=True)
class PartPlan:
    """What a part of a mock interview asks for."""

    name: str
    kind: str
    level: str
    minutes: float
    kata: str = ""  # this one, not one of the level
    bugs: int = 1  # of a hunt


SPARE_MINUTES = 5  # that a kata may take longer, by its own estimate, than the part it is drilled in
ROUND = (
    PartPlan(to_say("a warm-up"), "drill", "warm-up", 15.0),
    PartPlan(to_say("a core kata"), "drill", "core", 30.0),
    PartPlan(to_say("a bug hunt"), "hunt", "core", 15.0),
)
ROLES = {  # the round that is really asked
    "llm": (
        PartPlan(to_say("four bugs in a small GPT"), "hunt", "core", 25.0, kata="gpt_model", bugs=4),
        PartPlan(to_say("then a KV cache with the same output"), "drill", "core", 40.0, kata="kv_cache"),
    ),
}


def plan_round(
    log: SessionLog, catalog: Catalog, track: str | None, plans: Sequence[PartPlan] = ROUND
) -> list[RoundPart]:
    """The parts: katas of the level that a plan asks for, those met least recently, no kata twice if that is possible.

    A drill is of a kata that fits into its minutes, if there is one of the level. The hunt is in a kata that is solved,
    if there is one.
    """
    sessions = log.sessions()
    parts: list[RoundPart] = []
    for plan in plans:
        if plan.kata:
            parts.append(RoundPart(plan.kind, catalog[plan.kata].name, plan.minutes, plan.bugs, plan.name))
            continue
        used = {part.kata for part in parts}
        unused = [k for k in catalog.katas if k.name not in used and (not track or k.track == track)]
        fitting: list[Kata] = [k for k in unused if k.level == plan.level] or unused or list(catalog.katas)
        if plan.kind == "drill":
            fitting = [k for k in fitting if k.minutes <= plan.minutes + SPARE_MINUTES] or fitting
        else:
            fitting = solved_of(log.checkout, fitting) or solved_of(log.checkout, unused) or fitting
        kata = least_recent(fitting, sessions).name
        parts.append(RoundPart(plan.kind, kata, plan.minutes, plan.bugs, plan.name))
    return parts


def begin_round(log: SessionLog, parts: list[RoundPart]) -> Session:
    """Records and returns a round of these parts, none of which has begun. Raises UserError if it cannot be recorded."""
    minutes = sum(part.minutes for part in parts)
    session = Session(0, "mock", "", minutes, log.checkout.state, clock.now(), state=DrillState(parts=parts))
    log.add(session)
    if not session.id:
        raise UserError(
            say(
                "{trouble} A round needs it to know its parts; a single drill does not: kata drill", trouble=log.trouble
            )
        )
    return session


def parts_of(log: SessionLog, round_session: Session) -> list[Session]:
    """The sessions of a round that have begun, in the order of its parts."""
    return [session for session in log.sessions() if session.state.round_id == round_session.id]


def end_round(log: SessionLog, round_session: Session, finished: Sequence[Session]) -> None:
    """Ends a round whose parts are all `finished`: its points are their mean."""
    round_session.elapsed = sum(session.elapsed for session in finished)
    round_session.points = round(sum(session.points or 0.0 for session in finished) / len(finished), 1)
    round_session.ended = clock.now()
    log.add_event(round_session, "end")


def round_intro(checkout: Checkout, catalog: Catalog, parts: Sequence[RoundPart]) -> StartPage:
    """The page before a mock interview. It says if the hunt will show the reference of a kata that is not solved."""
    minutes = sum(part.minutes for part in parts)
    names = [say("{name} ({minutes:g})", name=say(part.name), minutes=part.minutes) for part in parts]
    sentences = [
        say(
            "{number} parts in {minutes:g} minutes: {names}. Before each further part the clock stands until you go "
            "on. A part that you leave waits, and so does the round: kata drill --resume.",
            number=len(parts),
            minutes=minutes,
            names=say(", ").join(names),
        ),
        say(
            "Failures give the expected value. A hint, or the explanation of a failure, costs {points} points of 100 "
            "({hunt_points} in the hunt).",
            points=HINT_POINTS,
            hunt_points=HUNT_HINT_POINTS,
        ),
    ]
    for part in parts:
        if part.kind == "hunt" and not solved_of(checkout, [catalog[part.kata]]):
            sentences.append(
                say(
                    "The hunt shows the reference of {kata}, which you have not solved; it will ask before.",
                    kata=part.kata,
                )
            )
    return StartPage(say("A mock interview"), sentences)


def round_page(catalog: Catalog, round_session: Session, parts: list[Session]) -> list[str]:
    """The points of a mock interview, a line for each part, and which kata to do again."""
    lines = [say("The round: {points:g} points of 100.", points=round_session.points)]
    for session in parts:
        part = to_say("  {points:5.1f}  {title} ({elapsed:.0f} of {minutes:g} minutes)")
        hunt = to_say("  {points:5.1f}  bug hunt, {title} ({elapsed:.0f} of {minutes:g} minutes)")
        line = say(
            hunt if session.kind == "hunt" else part,
            points=session.points or 0,
            title=catalog[session.kata].title,
            elapsed=session.elapsed / 60,
            minutes=session.minutes,
        )
        lines.append(line)
    weakest = min(parts, key=lambda session: session.points or 0.0)
    command = f"kata {weakest.kind} {weakest.kata}"
    return [*lines, say("Take the weakest again: {command}", command=command)]
