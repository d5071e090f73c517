"""Which mistakes are planted, the proof that they can be found and mended, and what a repair touched."""

import difflib
import random
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Job, JobDied, Verdict

TRIES = 10
FENCE = re.compile(r"[ \t]*# kata: (?:begin|end).*\n")


@dataclass(frozen=True)
class Planted:
    """A working file with mistakes in it. Undoing them in reverse order gives `working` again."""

    working: str
    source: str
    mistakes: tuple[Mistake, ...]


def working_file(checkout: Checkout, kata: str) -> str:
    """The reference as any colleague's file: without the fences that only the trainer reads."""
    return FENCE.sub("", checkout.reference(kata).read_text(encoding="utf-8"))


def plant(checkout: Checkout, kata: Kata, bugs: int, seed: int, fails: Callable[[str, str], bool]) -> Planted:
    """Plants `bugs` mistakes, chosen by `seed`. `fails(source, test)` runs a test; `test` "" means all of them.

    Raises UserError when the kata has too few that fit beside one another.
    """
    working = working_file(checkout, kata.name)
    if fails(working, ""):
        raise UserError(
            f"The reference of {kata.name} fails its own tests here, so no hunt is fair: kata dev verify {kata.name}"
        )
    for number in range(seed, seed + TRIES):  # a set that masks itself is passed over: nobody has met one
        planted = _plant(checkout, kata, working, bugs, number, fails)
        if undo(planted.source, planted.mistakes) == working and fails(planted.source, ""):
            return planted
    raise UserError(
        f"No fair set of {bugs} bugs was found in {kata.name}: kata hunt {kata.name} --bugs {max(1, bugs - 1)}"
    )


def _plant(
    checkout: Checkout, kata: Kata, working: str, bugs: int, seed: int, fails: Callable[[str, str], bool]
) -> Planted:
    known = [m for m in load_mistakes(checkout.mistakes(kata.name)).named if _fits(m, working)]
    order = random.Random(f"{kata.name} {seed}").sample(known, len(known))
    source = working
    chosen: list[Mistake] = []
    for mistake in order:
        if len(chosen) == bugs:
            break
        if _fits(mistake, source) and _apart(mistake, chosen) and fails(mistake.apply(working), mistake.caught_by):
            source = mistake.apply(source)
            chosen.append(mistake)
    if not chosen:
        raise UserError(f"{kata.name} has no bug that can be planted alone; take another kata: kata hunt")
    if len(chosen) < bugs:
        room = "one bug" if len(chosen) == 1 else f"{len(chosen)} bugs"
        raise UserError(f"{kata.name} has room for {room} at once: kata hunt {kata.name} --bugs {len(chosen)}")
    return Planted(working, source, tuple(chosen))


def undo(source: str, mistakes: Iterable[Mistake]) -> str:
    """`source` with the planted mistakes taken out again, the last one first."""
    for mistake in reversed(list(mistakes)):
        for old, new in reversed(mistake.edits):
            source = source.replace(new, old, 1) if source.count(new) == 1 else source
    return source


def _fits(mistake: Mistake, source: str) -> bool:
    """Whether each patch stands once, and can be told again once it is in."""
    try:
        wrong = mistake.apply(source)
    except UserError:
        return False
    return all(new.strip() and wrong.count(new) == 1 for _, new in mistake.edits) and undo(wrong, [mistake]) == source


def _apart(mistake: Mistake, chosen: list[Mistake]) -> bool:
    """Two bugs in one line would be one."""
    lines = {line.strip() for old, _ in mistake.edits for line in old.splitlines() if line.strip()}
    taken = {line.strip() for m in chosen for old, _ in m.edits for line in old.splitlines()}
    return not any(a in b or b in a for a in lines for b in taken if b)


def touched_beyond(planted: str, final: str, working: str) -> int:
    """How many lines a repair touched that held no planted mistake."""
    wrong = {line for line, _ in _changes(planted, working)}
    return sum(count for line, count in _changes(planted, final) if line not in wrong)


def _changes(before: str, after: str) -> list[tuple[int, int]]:
    """(line of `before`, lines touched there): one entry a line, and what was put in counts where it stands."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "insert":
            found.append((a, d - c))
        elif kind != "equal":
            found += [(line, 1) for line in range(a, b)]
            if d - c > b - a:
                found.append((b - 1, d - c - (b - a)))
    return found


class Trier:
    """Runs tests on a source in the forkserver, one after another."""

    def __init__(self, checkout: Checkout, kata: str, forkserver: ForkServer) -> None:
        self.checkout, self.kata, self.forkserver, self.number = checkout, kata, forkserver, 0

    def fails(self, source: str, test: str) -> bool:
        """Whether the test function `test` ("": any test) fails on `source`.

        A run without a verdict (it hung, say) passes nothing, and shows no one test to be failing either.
        """
        self.number -= 1  # numbers of their own: the hunt's start at 1
        with tempfile.TemporaryDirectory(prefix="kata-hunt-") as folder:
            (Path(folder) / f"{self.kata}.py").write_text(source, encoding="utf-8")
            job = Job(self.number, self.kata, Path(folder).resolve(), naming=False)
            self.forkserver.submit(job)
            deaths = 0
            while True:
                for message in self.forkserver.messages(1.0):
                    if isinstance(message, JobDied) and message.number == 0:
                        deaths += 1
                        if deaths > 2:
                            raise UserError(
                                f"The warm process ends again and again; `kata test {self.kata}` may say why."
                            )
                        self.forkserver.submit(job)
                    if isinstance(message, JobDied) and message.number == self.number:
                        return not test
                    if isinstance(message, Verdict) and message.number == self.number:
                        wrong = [o.test for o in message.outcomes if o.verdict not in ("passed", "skipped")]
                        return any(not test or name.partition("[")[0] == test for name in wrong)
