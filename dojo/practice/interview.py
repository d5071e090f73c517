"""`kata drill`: begins or resumes a drill, a hunt or a mock interview. Returns what to print when it is over."""

from dataclasses import dataclass

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.drill import lock
from dojo.practice.drill.app import DrillApp
from dojo.practice.drill.choose import choose, least_recent
from dojo.practice.drill.view import leaving_sentences
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.start import new_hunt
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import DrillState, RoundPart
from dojo.progress.sessions import Session, SessionLog


@dataclass(frozen=True)
class PartPlan:
    """What a part of a mock interview asks for."""

    kind: str
    level: str
    minutes: float


ROUND = (PartPlan("drill", "warm-up", 15.0), PartPlan("drill", "core", 30.0), PartPlan("hunt", "core", 15.0))


def start_drill(
    checkout: Checkout, catalog: Catalog, name: str | None, track: str | None, minutes: float | None
) -> list[str]:
    """Runs a drill on the terminal."""
    log = SessionLog(checkout)
    kata = catalog.find(name) if name else choose(log, catalog, track, minutes)
    with Terminal("kata drill") as terminal:
        session = log.begin_drill(kata, minutes or kata.minutes)
        app = DrillApp(checkout, kata, session, log, terminal)
        return app.run() or leaving_sentences(session)


def start_round(checkout: Checkout, catalog: Catalog, track: str | None) -> list[str]:
    """Runs a mock interview on the terminal: three parts, one after another."""
    log = SessionLog(checkout)
    choose(log, catalog, track, None)  # raises for an unknown track before the screen is taken over
    minutes = sum(plan.minutes for plan in ROUND)
    state = DrillState(parts=plan_round(log, catalog, track))
    round_session = log.add(Session(0, "mock", "", minutes, checkout.state, clock.now(), state=state))
    if not round_session.id:
        raise UserError(f"{log.trouble} A round needs it to know its parts; a single drill does not: kata drill")
    return _run_round(checkout, catalog, log, round_session)


def resume(checkout: Checkout, catalog: Catalog) -> list[str]:
    """Runs the drill, hunt or mock interview that was left or killed last. One that is open elsewhere is passed over."""
    log = SessionLog(checkout)
    unfinished = [session for session in log.sessions() if session.ended is None]
    open_ids = {s.state.round_id or s.id for s in unfinished if s.kind != "mock" and lock.is_open(s.folder)}
    resumable = [s for s in unfinished if s.state.round_id is None and s.id not in open_ids]
    if not resumable and open_ids:
        raise UserError("The drill that was begun is open in another terminal; go on there")
    if not resumable:
        raise UserError("No drill was left unfinished. Begin one: kata drill")
    session = resumable[-1]
    if session.kind == "mock":
        return _run_round(checkout, catalog, log, session)
    _check_folder(log, session)
    with Terminal("kata drill") as terminal:
        return _app(checkout, catalog, log, session, terminal).run() or leaving_sentences(session)


def plan_round(log: SessionLog, catalog: Catalog, track: str | None) -> list[RoundPart]:
    """The parts: katas of the level that ROUND asks for, those met least recently, no kata twice if that is possible."""
    sessions = log.sessions()
    parts: list[RoundPart] = []
    for plan in ROUND:
        used = {part.kata for part in parts}
        unused = [k for k in catalog.katas if k.name not in used and (not track or k.track == track)]
        fitting: list[Kata] = [k for k in unused if k.level == plan.level] or unused or list(catalog.katas)
        parts.append(RoundPart(plan.kind, least_recent(fitting, sessions).name, plan.minutes))
    return parts


def _run_round(checkout: Checkout, catalog: Catalog, log: SessionLog, round_session: Session) -> list[str]:
    parts = round_session.state.parts
    with Terminal("kata drill --mock") as terminal, ForkServer(checkout) as forkserver:
        while True:
            begun = [s for s in log.sessions() if s.state.round_id == round_session.id]
            finished = [s for s in begun if s.ended]
            number = len(finished)
            if number == len(parts):
                break
            if len(begun) > number:
                session = begun[-1]
                _check_folder(log, session)
            else:
                session = _begin_part(catalog, log, terminal, forkserver, round_session, parts[number])
            title = f"{number + 1} of {len(parts)}: "
            app = _app(checkout, catalog, log, session, terminal, title, forkserver)
            app.run()
            if not app.next_part and not (session.ended and number + 1 == len(parts)):
                return ["Left; the clock stands. Go on with the round: kata drill --resume"]
    round_session.elapsed = sum(s.elapsed for s in finished)
    round_session.points = round(sum(s.points or 0.0 for s in finished) / len(finished), 1)
    round_session.ended = clock.now()
    log.add_event(round_session, "end")
    return round_page(catalog, round_session, finished)


def _begin_part(
    catalog: Catalog,
    log: SessionLog,
    terminal: Terminal,
    forkserver: ForkServer,
    round_session: Session,
    part: RoundPart,
) -> Session:
    kata, round_id = catalog[part.kata], round_session.id
    if part.kind == "drill":
        return log.begin_drill(kata, part.minutes, round_id)

    def show_progress(text: str) -> None:
        terminal.draw(["", f" {text}"])

    return new_hunt(log, kata, 1, None, forkserver, show_progress, part.minutes, round_id)


def _app(
    checkout: Checkout,
    catalog: Catalog,
    log: SessionLog,
    session: Session,
    terminal: Terminal,
    part: str = "",
    forkserver: ForkServer | None = None,
) -> DrillApp:
    app = HuntApp if session.kind == "hunt" else DrillApp
    return app(checkout, catalog[session.kata], session, log, terminal, part, forkserver)


def _check_folder(log: SessionLog, session: Session) -> None:
    """Ends a session whose folder was deleted, and raises UserError."""
    if not session.folder.is_dir():
        session.ended = clock.now()
        log.save(session)
        shown = log.checkout.shown(session.folder)
        raise UserError(f"{shown} is gone, so that {session.kind} cannot go on. Begin one: kata {session.kind}")


def round_page(catalog: Catalog, round_session: Session, parts: list[Session]) -> list[str]:
    """The points of a mock interview, a line for each part, and which kata to do again."""
    lines = [f"The round: {round_session.points:g} points of 100."]
    for session in parts:
        kind = "bug hunt, " if session.kind == "hunt" else ""
        minutes = f"{session.elapsed / 60:.0f} of {session.minutes:g} minutes"
        lines.append(f"  {session.points or 0:5.1f}  {kind}{catalog[session.kata].title} ({minutes})")
    weakest = min(parts, key=lambda session: session.points or 0.0)
    return [*lines, f"Take the weakest again: kata {weakest.kind} {weakest.kata}"]
