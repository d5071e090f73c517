"""Where things lie in a checkout. Pure path arithmetic; nothing here reads or writes files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dojo.core.errors import UserError

MARK = Path("katas") / "catalog.toml"


@dataclass(frozen=True)
class Checkout:
    """The rooms of one checkout."""

    root: Path

    @cached_property
    def katas(self) -> Path:
        return self.root / "katas"

    @cached_property
    def solutions(self) -> Path:
        return self.root / "solutions"

    @cached_property
    def catalog(self) -> Path:
        return self.root / MARK

    @cached_property
    def state(self) -> Path:
        return self.root / ".dojo"

    def stub(self, kata: str) -> Path:
        return self.katas / f"{kata}.py"

    def reference(self, kata: str) -> Path:
        return self.solutions / f"{kata}.py"

    def mistakes(self, kata: str) -> Path:
        return self.solutions / "mistakes" / f"{kata}.toml"

    def alternatives(self, kata: str) -> list[Path]:
        return sorted((self.solutions / "alternatives" / kata).glob("*.py"))

    def peers(self, kata: str) -> list[Path]:
        return sorted((self.solutions / "peers" / kata).glob("*.py"))

    def tests(self, kata: str) -> Path:
        return self.root / "tests" / f"test_{kata}.py"

    def probe(self, kata: str) -> Path:
        return self.root / "tests" / "probes" / f"{kata}.py"

    def bench(self, kata: str) -> Path:
        return self.root / "tests" / "bench" / f"{kata}.py"

    def shown(self, path: Path) -> str:
        """`path` as a person types it from the root of the checkout."""
        path = path.resolve()
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_checkout(start: Path | None = None) -> Checkout:
    """The checkout that holds `start` (the current folder), else the one this package was installed from."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / MARK).is_file():
            return Checkout(folder)
    raise UserError(
        f"No katas found: {here} is not inside a checkout (no {MARK}). Change into the repository and try again."
    )
