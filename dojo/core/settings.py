"""The files that make a folder a pack or a workspace, and the settings of a workspace.

What is wrong with the settings is said in English: they hold the language.
"""

import tomllib
from contextlib import suppress
from pathlib import Path

from dojo.core.errors import UserError

CATALOG_FILE = Path("katas") / "catalog.toml"  # a folder that holds this is a pack
SETTINGS_FILE = "katas.toml"  # a folder that holds this is a workspace; it may name a pack and a language
MAY_HOLD = 'it may hold two lines: pack = "DIR" and lang = "zh"'


def is_pack(folder: Path) -> bool:
    """Whether `folder` holds katas with a catalogue."""
    return (folder / CATALOG_FILE).is_file()


def is_workspace(folder: Path) -> bool:
    """Whether `folder` has a settings file, as `kata init` writes it."""
    return (folder / SETTINGS_FILE).is_file()


def around(here: Path) -> Path | None:
    """The nearest pack or workspace that `here` is in."""
    return next((folder for folder in (here, *here.parents) if is_pack(folder) or is_workspace(folder)), None)


def settings_around() -> dict[str, str]:
    """The settings file of the pack or workspace around the current folder; nothing if it cannot be read."""
    with suppress(OSError, UserError):
        nearest = around(Path.cwd())
        return read_settings(nearest) if nearest and is_workspace(nearest) else {}
    return {}


def read_settings(folder: Path) -> dict[str, str]:
    """The settings of the workspace `folder`. Raises UserError that says what is wrong in the file."""
    file = folder / SETTINGS_FILE
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}. Mend it; {MAY_HOLD}") from error
    for key, value in settings.items():
        if key not in ("pack", "lang") or not isinstance(value, str):
            raise UserError(f"{file}: {key} = {value!r} is no setting; {MAY_HOLD}")
    return settings
