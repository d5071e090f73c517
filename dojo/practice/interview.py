"""`kata drill`: which drill begins, or goes on, and what stands on the terminal when it is over."""

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.drill import lock
from dojo.practice.drill.app import DrillApp
from dojo.practice.drill.choose import choose, left
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.start import new_hunt
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Log, Session

ROUND = (("drill", "warm-up", 15.0), ("drill", "core", 30.0), ("hunt", "core", 15.0))  # a mock interview


def start_drill(
    checkout: Checkout, catalog: Catalog, name: str | None, track: str | None, minutes: float | None
) -> list[str]:
    """Runs a drill on the terminal. Returns the lines to print afterwards; raises UserError with what to do instead."""
    log = Log(checkout)
    kata = catalog[name] if name else choose(log, catalog, track, minutes)
    with Terminal("kata drill") as terminal:
        session = log.begin(kata, minutes or kata.minutes)
        app = DrillApp(checkout, kata, session, log, terminal)
        return app.run() or left(session)


def start_mock(checkout: Checkout, catalog: Catalog, track: str | None) -> list[str]:
    """A whole round: three parts, one after another."""
    log = Log(checkout)
    choose(log, catalog, track, None)  # an unknown track is said before the screen is taken
    mock = Session(0, "mock", "", sum(part[2] for part in ROUND), checkout.state, clock.now())
    mock.detail = {"parts": plan_round(log, catalog, track)}
    if not log.add(mock).id:
        raise UserError(f"{log.trouble} A round needs it to know its parts; a single drill does not: kata drill")
    return _go_on(checkout, catalog, log, mock)


def resume_drill(checkout: Checkout, catalog: Catalog) -> list[str]:
    """The drill, hunt or round that was left last, or killed; not one that is open in another terminal."""
    log = Log(checkout)
    unfinished = log.unfinished()
    opened = {s.detail.get("mock", s.id) for s in unfinished if s.kind != "mock" and lock.is_open(s.folder)}
    free = [s for s in unfinished if "mock" not in s.detail and s.id not in opened]
    if not free:
        why = "is open in another terminal; go on there" if opened else "was left unfinished. Begin one: kata drill"
        raise UserError(f"{'The drill that was begun' if opened else 'No drill'} {why}")
    session = free[-1]
    if session.kind == "mock":
        return _go_on(checkout, catalog, log, session)
    _check_folder(log, session)
    with Terminal("kata drill") as terminal:
        return _app(checkout, catalog, log, session, terminal).run() or left(session)


def plan_round(log: Log, catalog: Catalog, track: str | None) -> list[list]:
    """[kind, kata, minutes] of each part: the katas of that level met least recently, no kata twice."""
    last = {session.kata: session.id for session in log.sessions()}
    parts: list[list] = []
    for kind, level, minutes in ROUND:
        taken = {part[1] for part in parts}
        free = [k for k in catalog.katas if k.name not in taken and (not track or k.track == track)]
        fits: list[Kata] = [k for k in free if k.level == level] or free or list(catalog.katas)
        parts.append([kind, min(fits, key=lambda kata: last.get(kata.name, 0)).name, minutes])
    return parts


def _go_on(checkout: Checkout, catalog: Catalog, log: Log, mock: Session) -> list[str]:
    parts = mock.detail["parts"]
    with Terminal("kata drill --mock") as terminal, ForkServer(checkout) as forkserver:
        while True:
            done = [s for s in log.sessions() if s.detail.get("mock") == mock.id]
            finished = [s for s in done if s.ended]
            if len(finished) == len(parts):
                break
            number = len(finished)
            if len(done) > number:
                session = done[-1]
                _check_folder(log, session)
            else:
                session = _begin_part(catalog, log, terminal, forkserver, mock, parts[number])
            part = f"{number + 1} of {len(parts)}: "
            app = _app(checkout, catalog, log, session, terminal, part, forkserver)
            app.run()
            if not app.next_part and not (session.ended and number + 1 == len(parts)):
                return ["Left; the clock stands. Go on with the round: kata drill --resume"]
    mock.elapsed = sum(s.elapsed for s in finished)
    mock.points = round(sum(s.points or 0.0 for s in finished) / len(finished), 1)
    mock.ended = clock.now()
    log.note(mock, "end")
    return round_page(catalog, mock, finished)


def _begin_part(
    catalog: Catalog, log: Log, terminal: Terminal, forkserver: ForkServer, mock: Session, part: list
) -> Session:
    kind, name, minutes = part
    if kind == "drill":
        return log.begin(catalog[name], minutes, mock=mock.id)
    return new_hunt(
        log, catalog[name], 1, None, forkserver, lambda text: terminal.draw(["", f" {text}"]), minutes, mock=mock.id
    )


def _app(
    checkout: Checkout,
    catalog: Catalog,
    log: Log,
    session: Session,
    terminal: Terminal,
    part: str = "",
    forkserver: ForkServer | None = None,
) -> DrillApp:
    kind = HuntApp if session.kind == "hunt" else DrillApp
    return kind(checkout, catalog[session.kata], session, log, terminal, part, forkserver)


def _check_folder(log: Log, session: Session) -> None:
    if not session.folder.is_dir():
        session.ended = clock.now()
        log.save(session)
        shown = log.checkout.shown(session.folder)
        raise UserError(f"{shown} is gone, so that {session.kind} cannot go on. Begin one: kata {session.kind}")


def round_page(catalog: Catalog, mock: Session, parts: list[Session]) -> list[str]:
    """The round in a few lines."""
    lines = [f"The round: {mock.points:g} points of 100."]
    for session in parts:
        what = "bug hunt, " if session.kind == "hunt" else ""
        minutes = f"{session.elapsed / 60:.0f} of {session.minutes:g} minutes"
        lines.append(f"  {session.points or 0:5.1f}  {what}{catalog[session.kata].title} ({minutes})")
    weakest = min(parts, key=lambda s: s.points or 0.0)
    return [*lines, f"Take the weakest again: kata {weakest.kind} {weakest.kata}"]
