"""Paths of a pack of katas and of the workspace of someone who solves them.

Only find_checkout() and the methods that return lists look at the disk.
"""

import os
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.settings import CATALOG_FILE, SETTINGS_FILE, around, is_pack, is_workspace, read_settings

CLONE = Path(__file__).resolve().parents[2]  # unless this program was installed from a wheel


@dataclass(frozen=True)
class Checkout:
    """A pack of katas and a workspace, with the path of each file by kata. In a clone the two are one folder."""

    root: Path  # of the pack: katas/, solutions/, tests/
    workspace: Path | None = None  # where answers/ and .dojo/ are, unless that is the pack itself

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
    def work(self) -> Path:
        """The folder of the learner: that of the pack, or a workspace of their own."""
        return self.workspace or self.root

    @cached_property
    def answers(self) -> Path:
        """The folder of the learner's files, which git ignores in a clone."""
        return self.work / "answers"

    @cached_property
    def state(self) -> Path:
        """Where the trainer keeps the history, drills, copies and caches."""
        return self.work / ".dojo"

    def answer(self, kata: str) -> Path:
        """The learner's file: a copy of the stub at first (dojo.core.answers), then their answer."""
        return self.answers / f"{kata}.py"

    def stub(self, kata: str) -> Path:
        """The stub as it is published. Nobody edits it: it is rendered from the reference."""
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
        """`path` relative to the workspace or to the pack, or absolute if it lies outside."""
        path = path.resolve()
        for folder in (self.work, self.root):
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return str(path)


def find_checkout(start: Path | None = None) -> Checkout:
    """The pack and workspace that a command in `start` (default: the current folder) works on.

    The pack is the first of: KATA_PACK (which `kata --pack` sets), the `pack` of a settings file around `start`, a pack
    around `start`, the pack that this program brings along.
    """
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise UserError(
            say("The folder that this terminal is in was deleted. Change into the repository: cd PATH")
        ) from error
    nearest = around(here)
    settings = read_settings(nearest) if nearest and is_workspace(nearest) else {}
    configured = _pack(nearest / settings["pack"], SETTINGS_FILE) if nearest and "pack" in settings else None
    chosen = _pack(Path(os.environ["KATA_PACK"]).expanduser(), "--pack") if os.environ.get("KATA_PACK") else None
    workspace = None if nearest and is_pack(nearest) else nearest
    if chosen:
        return Checkout(chosen, workspace if chosen == configured else None)
    if configured:
        return Checkout(configured, workspace)
    if nearest and not workspace:
        return Checkout(nearest)
    own = own_pack()
    if own and (workspace or own == CLONE):
        return Checkout(own, workspace)
    raise UserError(
        say(
            "No katas found: {here} is in no clone and in no workspace. Change into one, or make a workspace here: kata init",
            here=here,
        )
    )


def own_pack() -> Path | None:
    """The pack that this program brings along: that of its clone, else what the wheel has installed beside it."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    installed = [Path(sysconfig.get_path("data", scheme)) / "share" / "katas" for scheme in schemes]
    return next((folder for folder in (CLONE, *installed) if is_pack(folder)), None)


def _pack(folder: Path, source: str) -> Path:
    folder = folder.resolve()
    if not folder.is_dir():
        raise UserError(
            say(
                "There is no folder {folder}, which {source} names. Give the folder of a pack.",
                folder=folder,
                source=source,
            )
        )
    if not is_pack(folder):
        raise UserError(
            say(
                "{folder}, which {source} names, is no pack: it has no {file}. To begin one there: kata new --pack {folder}",
                folder=folder,
                source=source,
                file=CATALOG_FILE.as_posix(),
            )
        )
    return folder
