"""Plants mistakes into a working file, and proves that the tests find them."""

import random
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.language import say, say_number
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.core.stubs import read_reference
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Job, JobDied, Verdict

SEEDS_TO_TRY = 10
MAX_DEATHS = 2  # of the fork server during one run of the tests
FENCE_LINE = re.compile(r"[ \t]*# kata: (?:begin|end).*\n")


@dataclass(frozen=True)
class Planted:
    """A working file with mistakes in it. Undoing them in reverse order gives `working` again."""

    working: str
    source: str
    mistakes: tuple[Mistake, ...]


def working_file(checkout: Checkout, kata: str) -> str:
    """The reference without the comments that mark what a stub leaves out."""
    return FENCE_LINE.sub("", read_reference(checkout, kata))


def plant(checkout: Checkout, kata: Kata, bugs: int, seed: int, fails: Callable[[str, str], bool]) -> Planted:
    """Plants `bugs` mistakes, chosen by `seed`. `fails(source, test)` runs a test function; `test` "" runs all.

    Raises UserError if the kata has too few mistakes that can be planted together.
    """
    working = working_file(checkout, kata.name)
    if fails(working, ""):
        raise UserError(
            say(
                "The reference of {name} fails its own tests here, so no hunt is fair: kata dev verify {name}",
                name=kata.name,
            )
        )
    for next_seed in range(seed, seed + SEEDS_TO_TRY):
        planted = _plant(checkout, kata, working, bugs, next_seed, fails)
        # A bug that another one hides would count as mended from the beginning.
        all_show = all(fails(planted.source, mistake.caught_by) for mistake in planted.mistakes)
        if undo(planted.source, planted.mistakes) == working and all_show:
            return planted
    raise UserError(
        say(
            "No fair set of {bugs} bugs was found in {name}: kata hunt {name} --bugs {fewer}",
            bugs=bugs,
            name=kata.name,
            fewer=max(1, bugs - 1),
        )
    )


def _plant(
    checkout: Checkout, kata: Kata, working: str, bugs: int, seed: int, fails: Callable[[str, str], bool]
) -> Planted:
    mistakes = [m for m in load_mistakes(checkout.mistakes(kata.name)).named if _can_be_undone(m, working)]
    order = random.Random(f"{kata.name} {seed}").sample(mistakes, len(mistakes))
    source = working
    chosen: list[Mistake] = []
    for mistake in order:
        if len(chosen) == bugs:
            break
        fits = _can_be_undone(mistake, source) and _on_other_lines(mistake, chosen)
        if fits and fails(mistake.apply(working), mistake.caught_by):
            source = mistake.apply(source)
            chosen.append(mistake)
    if not chosen:
        raise UserError(
            say("{name} has no bug that can be planted alone; take another kata: kata hunt", name=kata.name)
        )
    if len(chosen) < bugs:
        raise UserError(
            say_number(
                "{name} has room for one bug at once: kata hunt {name} --bugs {number}",
                "{name} has room for {number} bugs at once: kata hunt {name} --bugs {number}",
                len(chosen),
                name=kata.name,
            )
        )
    return Planted(working, source, tuple(chosen))


def undo(source: str, mistakes: Iterable[Mistake]) -> str:
    """`source` without the planted mistakes; the last one is undone first."""
    for mistake in reversed(list(mistakes)):
        for old, new in reversed(mistake.edits):
            source = source.replace(new, old, 1) if source.count(new) == 1 else source
    return source


def _can_be_undone(mistake: Mistake, source: str) -> bool:
    """Whether each patch occurs exactly once in the patched source, so that undoing it gives `source` again."""
    try:
        wrong = mistake.apply(source)
    except UserError:
        return False
    return all(new.strip() and wrong.count(new) == 1 for _, new in mistake.edits) and undo(wrong, [mistake]) == source


def _on_other_lines(mistake: Mistake, chosen: list[Mistake]) -> bool:
    """Whether `mistake` changes no line that a chosen one changes: two bugs in one line would be one."""
    lines = _changed_lines(mistake)
    chosen_lines = {line for other in chosen for line in _changed_lines(other)}
    return not any(a in b or b in a for a in lines for b in chosen_lines)


def _changed_lines(mistake: Mistake) -> set[str]:
    return {line.strip() for old, _ in mistake.edits for line in old.splitlines() if line.strip()}


def failing_tests(outcomes: Iterable[Outcome]) -> frozenset[str]:
    """The names of the tests that neither passed nor were skipped."""
    return frozenset(o.test for o in outcomes if o.verdict not in ("passed", "skipped"))


class SourceTester:
    """Runs a kata's tests on a source, one job at a time, in the fork server."""

    def __init__(self, checkout: Checkout, kata: str, forkserver: ForkServer) -> None:
        self.checkout, self.kata, self.forkserver = checkout, kata, forkserver
        self.number = 0  # of the last job; negative, so that it is never the number of a job of the hunt itself
        self._last: tuple[str | None, frozenset[str] | None] = None, None  # the source run last, and its failing tests

    def fails(self, source: str, test: str) -> bool:
        """Whether the test function `test` ("": any test) fails on `source`.

        If a run gives no verdict (a test hung, say), no single test counts as failing, and the source does not pass.
        """
        failing = self.failing(source)
        if failing is None:
            return not test
        return any(not test or name.partition("[")[0] == test for name in failing)

    def failing(self, source: str) -> frozenset[str] | None:
        """The tests that fail on `source`; None if the run gives no verdict. The last source is not run again."""
        if self._last[0] != source:
            self._last = source, self._run_on(source)
        return self._last[1]

    def _run_on(self, source: str) -> frozenset[str] | None:
        self.number -= 1
        with tempfile.TemporaryDirectory(prefix="kata-hunt-") as folder:
            (Path(folder) / f"{self.kata}.py").write_text(source, encoding="utf-8")
            verdict = self._run(Job(self.number, self.kata, Path(folder).resolve(), diagnose=False))
        return None if verdict is None else failing_tests(verdict.outcomes)

    def _run(self, job: Job) -> Verdict | None:
        """The verdict on `job`, or None if it died without one."""
        self.forkserver.submit(job)
        deaths = 0
        while True:
            for message in self.forkserver.messages(1.0):
                if isinstance(message, JobDied) and message.number == 0:
                    deaths += 1
                    if deaths > MAX_DEATHS:
                        raise UserError(
                            say(
                                "The process that runs the tests ends again and again; `kata test {kata}` may say why.",
                                kata=self.kata,
                            )
                        )
                    self.forkserver.submit(job)
                if isinstance(message, JobDied) and message.number == job.number:
                    return None
                if isinstance(message, Verdict) and message.number == job.number:
                    return message
