"""`kata hunt`: plants the bugs, proves that the hunt is fair, and begins it."""

import ast
import random
from collections.abc import Callable

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.drill.choose import least_recent
from dojo.practice.drill.view import leaving_sentences
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.plant import Planted, SourceTester, plant
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import DrillState, HuntState, PlantedBug
from dojo.progress.sessions import Session, SessionLog, new_folder

BASE_MINUTES = 5.0
MINUTES_PER_BUG = 5.0
LAST_STAGE = 4  # a hunt has no stages: all tests run


def start_hunt(checkout: Checkout, catalog: Catalog, name: str | None, bugs: int, seed: int | None) -> list[str]:
    """Runs a hunt on the terminal. Returns the lines to print afterwards."""
    log = SessionLog(checkout)
    kata = catalog.find(name) if name else choose(log, catalog)
    with Terminal("kata hunt") as terminal, ForkServer(checkout) as forkserver:
        session = new_hunt(log, kata, bugs, seed, forkserver, lambda text: terminal.draw(["", f" {text}"]))
        page = HuntApp(checkout, kata, session, log, terminal, forkserver=forkserver).run()
    return page or leaving_sentences(session)


def choose(log: SessionLog, catalog: Catalog) -> Kata:
    """The kata hunted least recently; the first in learning order among equals."""
    return least_recent(list(catalog.katas), log.sessions("hunt"))


def new_hunt(
    log: SessionLog,
    kata: Kata,
    bugs: int,
    seed: int | None,
    forkserver: ForkServer,
    show_progress: Callable[[str], None],
    minutes: float | None = None,
    round_id: int | None = None,
) -> Session:
    """Plants the bugs, proves that the tests find them, and records and returns the hunt. Without a seed one is drawn."""
    if seed is None:
        seed = random.SystemRandom().randrange(10**6)
    number = "1 bug" if bugs == 1 else f"{bugs} bugs"
    show_progress(f"Planting {number} in {kata.name}, and making sure that tests find them ...")
    planted = plant(log.checkout, kata, bugs, seed, SourceTester(log.checkout, kata.name, forkserver).fails)
    folder = new_folder(log.checkout, "hunts", kata.name)
    write(folder / f"{kata.name}.py", planted.source)
    planted_bugs = [
        PlantedBug(mistake.name, mistake.says, mistake.caught_by, place(planted, index))
        for index, mistake in enumerate(planted.mistakes)
    ]
    hunt = HuntState(planted_bugs, seed, planted.source, planted.working)
    state = DrillState(stage=LAST_STAGE, round_id=round_id, hunt=hunt)
    minutes = minutes or BASE_MINUTES + MINUTES_PER_BUG * bugs
    return log.add(Session(0, "hunt", kata.name, minutes, folder, clock.now(), state=state))


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
    return ".".join(name for _, name in sorted(names)) or "at module level"
