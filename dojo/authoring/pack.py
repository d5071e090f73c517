"""Packs: folders of katas of one's own, with the anatomy of the repository, and copies of them to hand out."""

import json
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.core.pytest_files import CONFTEST, PYTEST_INI
from dojo.core.settings import CATALOG_FILE, is_pack
from dojo.core.stubs import require_solutions, stub
from dojo.core.version import VERSION

# Of a kata's folder in tests/, what holds answers, or is only of use with them.
WITH_ANSWERS = ("probe.py", "mistakes.toml", "differences.json", "bench.py", "alternatives", "peers")

CATALOG = """\
# The tracks, and the katas in the order in which one can learn them. What a kata asks stands in tests/NAME/kata.toml.

name = {name}
needs = "{version}"  # of the trainer

tracks = [{tracks}]

katas = [
{katas}]
{roles}"""

README = """\
# {name}

A pack of katas for the trainer `kata`: stubs in `katas/`, references in `solutions/`, and in `tests/` a folder for each kata
with all that specifies and proves it.

    kata --pack . new NAME        begin a kata
    kata --pack . dev verify      prove that its tests refuse wrong answers and accept right ones
    kata --pack . export DIR      a copy to hand out: stubs and tests, without solutions, probes and mistakes
    kata --pack . grade FOLDER    grade what came back

In this folder `--pack .` may be left out, but for `grade` and `grade-cohort`.
"""

HANDED_OUT_README = """\
# {name}

{count} to solve. Install the trainer as its README says, change into this folder, and run `kata`.

    kata                  the list, and what to do next
    kata show NAME        question, rules, stages
    kata watch NAME       on every save of answers/NAME.py a verdict (or: pytest tests/NAME)

Write in `answers/`, which the first command makes, and hand in that folder. The solutions are not here, so a run cannot say which
known mistake your code makes; the sentence and the hint of each failing test have to do.
"""


def begin(folder: Path) -> list[Path]:
    """Writes the files of an empty pack and returns them; nothing if `folder` is a pack already.

    Raises UserError if something else is there.
    """
    if is_pack(folder):
        return []
    _check_empty(folder)
    name = json.dumps(folder.resolve().name, ensure_ascii=False)
    texts = {
        CATALOG_FILE: CATALOG.format(name=name, version=VERSION, tracks='"katas"', katas="", roles=""),
        Path("README.md"): README.format(name=folder.resolve().name),
        Path(".gitignore"): ".dojo/\nanswers/\n__pycache__/\n.pytest_cache/\n",
        Path("conftest.py"): CONFTEST,
        Path("pytest.ini"): PYTEST_INI,
    }
    for path, text in texts.items():
        write(folder / path, text)
    (folder / "solutions").mkdir()
    (folder / "tests").mkdir()
    return [folder / path for path in texts]


def export(checkout: Checkout, catalog: Catalog, folder: Path, only: Collection[str] = ()) -> list[str]:
    """Copies the pack, or the katas `only`, into the new `folder`, without answers. Returns the katas' names.

    Tests may hold lines of the solutions all the same: see `shared_lines`.
    """
    require_solutions(checkout)
    _check_empty(folder)
    katas = [kata for kata in catalog.katas if not only or kata.name in only]
    names = [kata.name for kata in katas]
    tracks = ", ".join(json.dumps(track) for track in dict.fromkeys(kata.track for kata in katas))
    listed = "".join(f"    {json.dumps(name)},\n" for name in names)
    name = json.dumps(catalog.name, ensure_ascii=False)
    roles = _roles(catalog, {*names, *(kata.track for kata in katas)})
    write(folder / CATALOG_FILE, CATALOG.format(name=name, version=VERSION, tracks=tracks, katas=listed, roles=roles))
    count = "1 kata" if len(names) == 1 else f"{len(names)} katas"
    write(folder / "README.md", HANDED_OUT_README.format(name=catalog.name, count=count))
    write(folder / ".gitignore", ".dojo/\n__pycache__/\n.pytest_cache/\n")
    write(folder / "conftest.py", CONFTEST)
    write(folder / "pytest.ini", PYTEST_INI)
    for name in names:
        write(folder / "katas" / f"{name}.py", stub(checkout, name))
        shutil.copytree(checkout.tests(name), folder / "tests" / name, ignore=_left_out)
    return names


def _roles(catalog: Catalog, exported: Collection[str]) -> str:
    """The roles as the catalogue's file has them, without what is not `exported`."""
    lines = [
        f"{json.dumps(role)} = {json.dumps([entry for entry in entries if entry in exported])}\n"
        for role, entries in catalog.roles.items()
    ]
    return f"\n[roles]\n{''.join(lines)}" if lines else ""


def shared_lines(checkout: Checkout, names: Sequence[str], folder: Path) -> list[str]:
    """Each file of the copy in `folder` that has a long line of a reference which its stub does not show, with that line."""
    secret: set[str] = set()
    for name in names:
        known = set(map(str.strip, stub(checkout, name).splitlines()))
        reference = checkout.reference(name).read_text(encoding="utf-8")
        secret |= {line for line in map(str.strip, reference.splitlines()) if len(line) > 40 and line not in known}
    secret = {line for line in secret if not line.startswith("# kata: ")}
    found = []
    for file in sorted(folder.rglob("*.py")):
        lines = set(map(str.strip, file.read_text(encoding="utf-8").splitlines()))
        found += [f"{file.relative_to(folder)}: {line}" for line in sorted(secret & lines)[:1]]
    return found


def _left_out(folder: str, names: list[str]) -> list[str]:
    def is_left_out(name: str) -> bool:
        translated = re.sub(r"\.[a-z]+\.toml$", ".toml", name)  # mistakes.zh.toml tells what mistakes.toml tells
        return translated in WITH_ANSWERS or name == "__pycache__" or name.endswith(".pyc")

    return [*filter(is_left_out, names)]


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; nothing was written. Name a new folder.")
