"""`kata hunt`: a hunt is generated, proved fair, and begun."""

import ast
import random
from collections.abc import Callable

from dojo.core import clock
from dojo.core.catalog import Catalog, Kata
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.practice.drill.choose import left
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.plant import Planted, Trier, plant
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Log, Session, new_folder

MINUTES = 5.0  # and as many for each bug


def start_hunt(checkout: Checkout, catalog: Catalog, name: str | None, bugs: int, seed: int | None) -> list[str]:
    """Runs a hunt on the terminal and returns its last page."""
    log = Log(checkout)
    kata = catalog[name] if name else choose(log, catalog)
    with Terminal("kata hunt") as terminal, ForkServer(checkout) as forkserver:
        session = new_hunt(log, kata, bugs, seed, forkserver, lambda text: terminal.draw(["", f" {text}"]))
        page = HuntApp(checkout, kata, session, log, terminal, forkserver=forkserver).run()
    return page or left(session)


def choose(log: Log, catalog: Catalog) -> Kata:
    """The kata hunted least recently; the first in learning order among equals."""
    last = {session.kata: session.id for session in log.hunts()}
    return min(catalog.katas, key=lambda kata: last.get(kata.name, 0))


def new_hunt(
    log: Log,
    kata: Kata,
    bugs: int,
    seed: int | None,
    forkserver: ForkServer,
    tell: Callable[[str], None],
    minutes: float | None = None,
    **detail: object,
) -> Session:
    """Plants, proves and records a hunt; `tell` gets a line about what is going on."""
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    tell(f"Planting {bugs} {'bug' if bugs == 1 else 'bugs'} in {kata.name}, and making sure that tests find them ...")
    trier = Trier(log.checkout, kata.name, forkserver)
    planted = plant(log.checkout, kata, bugs, chosen, trier.fails)
    folder = new_folder(log.checkout, "hunts", kata.name)
    write(folder / f"{kata.name}.py", planted.source)
    described = [
        {"name": m.name, "says": m.says, "test": m.caught_by, "where": place(planted, number)}
        for number, m in enumerate(planted.mistakes)
    ]
    whole = {
        "stage": 4,
        "bugs": described,
        "seed": chosen,
        "planted": planted.source,
        "working": planted.working,
        **detail,
    }
    minutes = minutes or MINUTES + MINUTES * bugs
    return log.add(Session(0, "hunt", kata.name, minutes, folder, clock.now(), detail=whole))


def place(planted: Planted, number: int) -> str:
    """The function (or class) that holds the planted mistake, as one would say it."""
    line = planted.working[: planted.working.index(planted.mistakes[number].edits[0][0])].count("\n") + 1
    line += len(planted.mistakes[number].edits[0][0]) - len(planted.mistakes[number].edits[0][0].lstrip("\n"))
    names = []
    for node in ast.walk(ast.parse(planted.working)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first <= line <= (node.end_lineno or line):
                names.append((first, node.name))
    return ".".join(name for _, name in sorted(names)) or "at module level"
