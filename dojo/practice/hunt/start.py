"""`kata hunt`: plants the bugs, proves that the hunt is fair, and begins it."""

import ast
import random
from collections.abc import Iterable

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.files import write
from dojo.core.language import say, say_number
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.actions import record_hunt
from dojo.practice.drill.choose import least_recent
from dojo.practice.drill.view import leaving_sentences
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.grading import HINT_POINTS
from dojo.practice.hunt.plant import Planted, SourceTester, plant
from dojo.practice.hunt.view import AT_MODULE_LEVEL
from dojo.practice.start_page import LEAVE, LEAVE_ROUND, NOT_BEGUN, StartPage, wants_to_begin
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import DrillState, HuntState, PlantedBug
from dojo.progress.sessions import Session, SessionLog, new_folder
from dojo.progress.standing import progress_or_not_started, solved_in_this_try

BASE_MINUTES = 5.0
MINUTES_PER_BUG = 5.0
LAST_STAGE = 4  # a hunt has no stages: all tests run


def start_hunt(checkout: Checkout, catalog: Catalog, name: str | None, bugs: int, seed: int | None) -> list[str]:
    """Runs a hunt on the terminal. Returns the lines to print afterwards."""
    log = SessionLog(checkout)
    kata = catalog.find(name) if name else choose(log, catalog)
    with Terminal("kata hunt") as terminal, ForkServer(checkout) as forkserver:
        session = new_hunt(log, kata, bugs, seed, forkserver, terminal)
        if session is None:
            return [say(NOT_BEGUN)]
        page = HuntApp(checkout, kata, session, log, terminal, forkserver=forkserver).run()
    return page or leaving_sentences(session)


def choose(log: SessionLog, catalog: Catalog) -> Kata:
    """The kata hunted least recently; the first in learning order among equals. One that is solved, if there is any."""
    katas = list(catalog.katas)
    return least_recent(solved_of(log.checkout, katas) or katas, log.sessions("hunt"))


def solved_of(checkout: Checkout, katas: Iterable[Kata]) -> list[Kata]:
    """Those of `katas` whose reference a hunt may show: they are solved, and not being solved again."""
    return [kata for kata in katas if solved_in_this_try(checkout, kata.name)]


def new_hunt(
    log: SessionLog,
    kata: Kata,
    bugs: int,
    seed: int | None,
    forkserver: ForkServer,
    terminal: Terminal,
    minutes: float | None = None,
    round_id: int | None = None,
    part: str = "",
) -> Session | None:
    """Plants the bugs, proves that the tests find them, asks, and records and returns the hunt. Without a seed one is drawn.

    Returns None if the learner does not want to begin; then nothing is recorded.
    """
    seed = any_seed() if seed is None else seed
    planting = say_number(
        " Planting {number} bug in {name}, and making sure that tests find them ...",
        " Planting {number} bugs in {name}, and making sure that tests find them ...",
        bugs,
        name=kata.name,
    )
    terminal.draw(["", planting])
    planted = plant_bugs(log.checkout, kata, bugs, seed, forkserver)
    minutes = minutes or hunt_minutes(bugs)
    if not wants_to_begin(terminal, start_page(log.checkout, kata, bugs, minutes, part)):
        return None
    return begin_hunt(log, kata, planted, seed, minutes, round_id)


def hunt_minutes(bugs: int) -> float:
    """How long a hunt for so many bugs takes, unless told otherwise."""
    return BASE_MINUTES + MINUTES_PER_BUG * bugs


def any_seed() -> int:
    return random.SystemRandom().randrange(10**6)


def plant_bugs(checkout: Checkout, kata: Kata, bugs: int, seed: int, forkserver: ForkServer) -> Planted:
    """A working file with bugs that the tests find."""
    return plant(checkout, kata, bugs, seed, SourceTester(checkout, kata.name, forkserver).fails)


def begin_hunt(
    log: SessionLog, kata: Kata, planted: Planted, seed: int, minutes: float, round_id: int | None = None
) -> Session:
    """Records and returns the hunt; that it shows the reference is recorded as well."""
    record_hunt(log.checkout, kata, lambda sentence: setattr(log, "trouble", sentence))
    folder = new_folder(log.checkout, "hunts", kata.name)
    write(folder / f"{kata.name}.py", planted.source)
    planted_bugs = [
        PlantedBug(mistake.name, mistake.says, mistake.caught_by, place(planted, index))
        for index, mistake in enumerate(planted.mistakes)
    ]
    hunt = HuntState(planted_bugs, seed, planted.source, planted.working)
    state = DrillState(stage=LAST_STAGE, round_id=round_id, hunt=hunt)
    return log.add(Session(0, "hunt", kata.name, minutes, folder, clock.now(), state=state))


def start_page(checkout: Checkout, kata: Kata, bugs: int, minutes: float, part: str) -> StartPage:
    """The page before a hunt. If its kata is not solved, the page says that it will show the reference."""
    sentences = (
        say_number(
            "{minutes:g} minutes. One bug is planted in a working implementation: make every test pass, and change "
            "nothing without need.",
            "{minutes:g} minutes. {number} bugs are planted in a working implementation: make every test pass, and "
            "change nothing without need.",
            bugs,
            minutes=minutes,
        ),
        say(
            "Failures give the expected value. The name of the function that holds a bug, or the explanation of a "
            "failure, costs {points} points.",
            points=HINT_POINTS,
        ),
    )
    title, leaving = part + say("A bug hunt: {title}", title=kata.title), LEAVE_ROUND if part else LEAVE
    if solved_of(checkout, [kata]):
        return StartPage(title, sentences, leaving=leaving)
    if progress_or_not_started(checkout, kata.name).state == "solved":
        warning = say(
            "You are solving {name} again, and a hunt shows its reference, which is recorded as a look at the "
            "solution. Begin all the same?",
            name=kata.name,
        )
    else:
        warning = say(
            "You have not solved {name}, and a hunt shows its reference, which is recorded as a look at the solution. "
            "Begin all the same?",
            name=kata.name,
        )
    return StartPage(title, sentences, warning, leaving)


def place(planted: Planted, index: int) -> str:
    """The function, method ("Net.forward") or class that holds a planted mistake, or "at module level"."""
    old = planted.mistakes[index].edits[0][0]
    line = planted.working[: planted.working.index(old)].count("\n") + 1
    line += len(old) - len(old.lstrip("\n"))
    names = []
    for node in ast.walk(ast.parse(planted.working)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first_line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first_line <= line <= (node.end_lineno or line):
                names.append((first_line, node.name))
    return ".".join(name for _, name in sorted(names)) or AT_MODULE_LEVEL
