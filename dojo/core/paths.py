"""Paths in a checkout. Only find_checkout() and the methods that return lists look at the disk; no file is read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dojo.core.errors import UserError

CATALOG_FILE = Path("katas") / "catalog.toml"  # a folder that holds this is a checkout


@dataclass(frozen=True)
class Checkout:
    """One checkout, and the path of each of its files by kata."""

    root: Path

    @cached_property
    def katas(self) -> Path:
        return self.root / "katas"

    @cached_property
    def solutions(self) -> Path:
        return self.root / "solutions"

    @cached_property
    def catalog(self) -> Path:
        return self.root / CATALOG_FILE

    @cached_property
    def state(self) -> Path:
        """Where the trainer keeps the history, drills, copies and caches."""
        return self.root / ".dojo"

    def stub(self, kata: str) -> Path:
        """The learner's file: a stub at first, then their answer."""
        return self.katas / f"{kata}.py"

    def reference(self, kata: str) -> Path:
        """The reference solution."""
        return self.solutions / f"{kata}.py"

    def tests(self, kata: str) -> Path:
        """The folder of all that specifies and proves the kata."""
        return self.root / "tests" / kata

    def tests_argument(self, kata: str) -> str:
        """The kata's folder of tests as an argument of a pytest that runs at the root: it may not contain brackets."""
        return self.tests(kata).relative_to(self.root).as_posix()

    def test_files(self, kata: str) -> list[Path]:
        """The tests that the kata must pass, a file for each stage."""
        return sorted(self.tests(kata).glob("test_[1-9]_*.py"))

    def description(self, kata: str) -> Path:
        """The file of title, question, stages, hints and follow-ups (dojo.core.catalog)."""
        return self.tests(kata) / "kata.toml"

    def mistakes(self, kata: str) -> Path:
        """The file of named mistakes (dojo.core.mistakes)."""
        return self.tests(kata) / "mistakes.toml"

    def differences(self, kata: str) -> Path:
        """Where each named mistake differs from the reference; written by `kata dev verify --write` (dojo.engine.differences)."""
        return self.tests(kata) / "differences.json"

    def alternatives(self, kata: str) -> list[Path]:
        """Other right solutions."""
        return sorted((self.tests(kata) / "alternatives").glob("*.py"))

    def alternative(self, kata: str, name: str) -> Path:
        """One of the other right solutions, by its name."""
        return self.tests(kata) / "alternatives" / f"{name}.py"

    def peers(self, kata: str) -> list[Path]:
        """Adapters over libraries that solve the same kata."""
        return sorted((self.tests(kata) / "peers").glob("*.py"))

    def probe(self, kata: str) -> Path:
        """What can be observed of an implementation (dojo.testing.probes)."""
        return self.tests(kata) / "probe.py"

    def bench(self, kata: str) -> Path:
        """What `kata dev bench` times (dojo.testing.bench); not every kata has it."""
        return self.tests(kata) / "bench.py"

    def shown(self, path: Path) -> str:
        """`path` relative to the root of the checkout, or absolute if it lies outside."""
        path = path.resolve()
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_checkout(start: Path | None = None) -> Checkout:
    """The checkout around `start` (default: the current folder), else the one that this package was installed from."""
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise UserError(
            "The folder that this terminal is in was deleted. Change into the repository: cd PATH"
        ) from error
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / CATALOG_FILE).is_file():
            return Checkout(folder)
    raise UserError(
        f"No katas found: {here} is not inside a checkout (no {CATALOG_FILE}). Change into the repository and try again."
    )
