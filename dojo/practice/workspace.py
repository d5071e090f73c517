"""`kata init`: a folder of one's own to solve katas in, where no clone is."""

import json
from pathlib import Path

from dojo.core import answers
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout, find_checkout
from dojo.core.pytest_files import CONFTEST, PYTEST_INI
from dojo.core.settings import SETTINGS_FILE, is_pack, is_workspace

SETTINGS = to_say("# This folder is a workspace of `kata`: answers/ is yours, and the katas come with the program.\n")
PACK_SETTINGS = to_say(
    "# This folder is a workspace of `kata`: answers/ is yours, and the katas are those of this pack.\npack = {folder}\n"
)

README = to_say("""\
# My answers

Katas for machine-learning interviews. `answers/` holds a file for each: signatures, rules, and `raise NotImplementedError` where
the code belongs.

    kata                  the list, and what to do next
    kata show NAME        question, rules, stages
    kata watch NAME       on every save of answers/NAME.py a verdict
    kata test NAME        the same once; plain pytest works too: pytest tests/NAME
    kata hint NAME        one hint at a time
    kata drill NAME       against the clock
    kata update           after a new version of the program: new katas come, and changed stubs are merged into your answers

This folder is yours: put it under git, and commit what you like. `.dojo/` holds your history.
""")


def init(folder: Path, pack: str = "") -> tuple[Checkout, list[str]]:
    """Makes `folder` a workspace, for the katas of `pack` or those that come with this program.

    Returns the workspace and the names of the files that were written. A README.md that is there stays. Raises UserError, and
    writes nothing, where something else is in the way.
    """
    folder = folder.resolve()
    if is_pack(folder):
        raise UserError(
            say(
                "{folder} has katas of its own, so it needs no workspace: answers/ is made by any command in it.",
                folder=folder,
            )
        )
    if is_workspace(folder):
        raise UserError(say("{folder} is a workspace already. What is new comes with: kata update", folder=folder))
    settings = say(SETTINGS)
    if pack:
        settings = say(PACK_SETTINGS, folder=json.dumps(str(_absolute(pack)), ensure_ascii=False))
    texts = {
        SETTINGS_FILE: settings,
        "pytest.ini": PYTEST_INI,
        "conftest.py": CONFTEST,
        ".gitignore": ".dojo/\n__pycache__/\n.pytest_cache/\n.benchmarks/\n",
        "README.md": say(README),
    }
    existing = [name for name in texts if (folder / name).exists()]
    if others := [name for name in existing if name != "README.md"]:
        raise UserError(
            say(
                "{folder} has a file {file} already; nothing was written. Take a new folder: kata init DIR",
                folder=folder,
                file=others[0],
            )
        )
    written = [name for name in texts if name not in existing]
    for name in written:
        write(folder / name, texts[name])
    try:
        checkout = find_checkout(folder)
    except UserError:  # there are no such katas
        for name in written:
            (folder / name).unlink()
        raise
    answers.prepare(checkout)
    return checkout, written


def _absolute(pack: str) -> Path:
    return Path(pack).expanduser().resolve()
