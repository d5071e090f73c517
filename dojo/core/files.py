"""TODO: one line."""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.paths import Checkout


def backup(checkout: Checkout, file: Path, copies: str = "backups") -> Path:
    """Copies `file` into .dojo/`copies`/ under a name of its own."""
    folder = checkout.state / copies
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            copy = folder / f"{file.stem}-{stamp}{f'-{number}' if number else ''}{file.suffix}"
            if not copy.exists():
                return Path(shutil.copy2(file, copy))
    except OSError as error:
        raise UserError(
            f"No copy of {checkout.shown(file)} could be made ({error}), so it was left as it is. Make room in {folder}."
        ) from error
    raise UserError(f"No copy of {checkout.shown(file)} could be made, so it was left as it is. Tidy up {folder}.")


def write(file: Path, text: str) -> None:
    """Replaces `file` in one step: a crash leaves the old text or the new one, never half of it."""
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as temporary:
                temporary.write(text)
            os.chmod(name, file.stat().st_mode & 0o777 if file.exists() else 0o644)
            os.replace(name, file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror}); nothing was changed. Check the folder's permissions and free space."
        ) from error


def digest(path: Path) -> str:
    """A short hash of one file; empty when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def put(path: Path, text: str) -> None:
    """All of `text`, or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)
