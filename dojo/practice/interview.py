"""`kata drill`: begins or resumes a drill, a hunt or a mock interview. Returns what to print when it is over."""

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.drill import lock
from dojo.practice.drill.app import DrillApp
from dojo.practice.drill.choose import choose
from dojo.practice.drill.clock import clock_text
from dojo.practice.drill.grading import HINT_POINTS
from dojo.practice.drill.view import leaving_sentences
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.start import new_hunt
from dojo.practice.rounds import ROLES, ROUND, begin_round, end_round, parts_of, plan_round, round_intro, round_page
from dojo.practice.start_page import LEAVE, LEAVE_CLOCK, LEAVE_ROUND, NOT_BEGUN, StartPage, wants_to_begin
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import RoundPart
from dojo.progress.sessions import Session, SessionLog

ROUND_LEFT = to_say("Left; the clock stands. Go on with the round: kata drill --resume")
LEFT_BEFORE = {  # by the kind of session
    "drill": to_say("The drill that you left: {title}"),
    "hunt": to_say("The hunt that you left: {title}"),
}
GONE = {
    "drill": to_say("{shown} is gone, so that drill cannot go on. Begin one: kata drill"),
    "hunt": to_say("{shown} is gone, so that hunt cannot go on. Begin one: kata hunt"),
}


def start_drill(
    checkout: Checkout, catalog: Catalog, name: str | None, track: str | None, minutes: float | None
) -> list[str]:
    """Runs a drill on the terminal."""
    log = SessionLog(checkout)
    kata = catalog.find(name) if name else choose(log, catalog, track, minutes)
    minutes = minutes or kata.minutes
    with Terminal("kata drill") as terminal, ForkServer(checkout) as forkserver:  # which loads torch behind the page
        if not wants_to_begin(terminal, drill_page(kata, minutes)):
            return [say(NOT_BEGUN)]
        session = log.begin_drill(kata, minutes)
        app = DrillApp(checkout, kata, session, log, terminal, forkserver=forkserver)
        return app.run() or leaving_sentences(session)


def start_round(checkout: Checkout, catalog: Catalog, track: str | None, role: str | None = None) -> list[str]:
    """Runs a mock interview on the terminal, one part after another: three of `track`, or those of `role`."""
    log = SessionLog(checkout)
    choose(log, catalog, track, None)  # raises for an unknown track before the screen is taken over
    parts = plan_round(log, catalog, track, ROLES[role] if role else ROUND)
    with Terminal("kata drill --mock") as terminal, ForkServer(checkout) as forkserver:
        if not wants_to_begin(terminal, round_intro(checkout, catalog, parts)):
            return [say(NOT_BEGUN)]
        session = begin_round(log, parts)
        return _run_round(checkout, catalog, log, session, terminal, forkserver, begun=True)


def resume(checkout: Checkout, catalog: Catalog) -> list[str]:
    """Runs the drill, hunt or mock interview that was left or killed last. One that is open elsewhere is passed over."""
    log = SessionLog(checkout)
    unfinished = [session for session in log.sessions() if session.ended is None]
    open_ids = {s.state.round_id or s.id for s in unfinished if s.kind != "mock" and lock.is_open(s.folder)}
    resumable = [s for s in unfinished if s.state.round_id is None and s.id not in open_ids]
    if not resumable and open_ids:
        raise UserError(say("The drill that was begun is open in another terminal; go on there"))
    if not resumable:
        raise UserError(say("No drill was left unfinished. Begin one: kata drill"))
    session = resumable[-1]
    if session.kind != "mock":
        check_folder(log, session)
    with Terminal("kata drill") as terminal, ForkServer(checkout) as forkserver:
        if session.kind == "mock":
            return _run_round(checkout, catalog, log, session, terminal, forkserver)
        if not _goes_on(catalog, session, terminal):
            return leaving_sentences(session)
        return _app(checkout, catalog, log, session, terminal, forkserver).run() or leaving_sentences(session)


def drill_page(kata: Kata, minutes: float, part: str = "") -> StartPage:
    """The page before a drill."""
    sentences = (
        say(
            "{minutes:g} minutes on a fresh copy of the stub; your answers/ stay as they are. Each save runs the tests "
            "of the stage that is open, and when they pass, the next stage opens.",
            minutes=minutes,
        ),
        say(
            "Failures give the expected value. A hint, or the explanation of a failure, costs {points} points of 100. "
            "Follow-up questions come at the end, and then all is explained.",
            points=HINT_POINTS,
        ),
    )
    title = part + say("A drill: {title}", title=kata.title)
    return StartPage(title, sentences, leaving=LEAVE_ROUND if part else LEAVE)


def left_page(kata: Kata, session: Session, part: str = "") -> StartPage:
    """The page before the clock of a session that was left goes on."""
    sentence = say(
        "{left} of {minutes:g} minutes are left. The clock has stood since.",
        left=clock_text(session.seconds_left),
        minutes=session.minutes,
    )
    title = part + say(LEFT_BEFORE[session.kind], title=kata.title)
    return StartPage(title, [sentence], leaving=LEAVE_CLOCK)


def _goes_on(catalog: Catalog, session: Session, terminal: Terminal, part: str = "") -> bool:
    """Asks before the clock of a session that was left goes on; True if it has no clock any more."""
    if session.state.phase not in ("work", "paused"):
        return True
    return wants_to_begin(terminal, left_page(catalog[session.kata], session, part))


def _run_round(
    checkout: Checkout,
    catalog: Catalog,
    log: SessionLog,
    round_session: Session,
    terminal: Terminal,
    forkserver: ForkServer,
    begun: bool = False,
) -> list[str]:
    """Runs the parts that are left. Before each it asks, unless the round has just `begun`."""
    parts = round_session.state.parts
    while True:
        started = parts_of(log, round_session)
        finished = [s for s in started if s.ended]
        number = len(finished)
        if number == len(parts):
            break
        title = say("{number} of {total}: ", number=number + 1, total=len(parts))
        if len(started) > number:
            check_folder(log, started[-1])
            session = started[-1] if _goes_on(catalog, started[-1], terminal, title) else None
        else:
            session = _begin_part(catalog, log, terminal, forkserver, round_session, parts[number], title, begun)
        if session is None:
            return [say(ROUND_LEFT)]
        begun = False
        app = _app(checkout, catalog, log, session, terminal, forkserver, title)
        app.run()
        if not app.next_part and not (session.ended and number + 1 == len(parts)):
            return [say(ROUND_LEFT)]
    end_round(log, round_session, finished)
    return round_page(catalog, round_session, finished)


def _begin_part(
    catalog: Catalog,
    log: SessionLog,
    terminal: Terminal,
    forkserver: ForkServer,
    round_session: Session,
    part: RoundPart,
    title: str,
    begun: bool,
) -> Session | None:
    """The session of the next part; None if the learner does not want to begin it now."""
    kata, round_id = catalog[part.kata], round_session.id
    if part.kind == "hunt":
        return new_hunt(log, kata, part.bugs, None, forkserver, terminal, part.minutes, round_id, title)
    if not begun and not wants_to_begin(terminal, drill_page(kata, part.minutes, title)):
        return None
    return log.begin_drill(kata, part.minutes, round_id)


def _app(
    checkout: Checkout,
    catalog: Catalog,
    log: SessionLog,
    session: Session,
    terminal: Terminal,
    forkserver: ForkServer,
    part: str = "",
) -> DrillApp:
    app = HuntApp if session.kind == "hunt" else DrillApp
    return app(checkout, catalog[session.kata], session, log, terminal, part, forkserver)


def check_folder(log: SessionLog, session: Session) -> None:
    """Ends a session whose folder was deleted, and raises UserError."""
    if not session.folder.is_dir():
        session.ended = clock.now()
        log.save(session)
        raise UserError(say(GONE[session.kind], shown=log.checkout.shown(session.folder)))
