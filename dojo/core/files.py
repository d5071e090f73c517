"""Files of a checkout: written in one step, copied before they are overwritten, compared by digest."""

import os
import shlex
import shutil
import tempfile
import time
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.core.source import digest_of

COPIES_PER_SECOND = 1000  # names that backup() tries for one file


def write(file: Path, content: str | bytes) -> None:
    """Replaces the content of `file` atomically: a crash leaves the old text or the new one. Makes missing folders.

    A character that UTF-8 cannot encode (half of a surrogate pair) is written as an escape like \\ud800.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as temporary:
                temporary.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
            os.chmod(name, file.stat().st_mode & 0o777 if file.exists() else 0o644)
            os.replace(name, file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            say(
                "{file} cannot be written ({error}); nothing was changed. Check the folder's permissions and free space.",
                file=file,
                error=error.strerror,
            )
            + owner_advice(file.parent)
        ) from error


def backup(checkout: Checkout, file: Path, folder_name: str = "backups") -> Path:
    """Copies `file` into .dojo/`folder_name`/ and returns the copy, whose name holds the time and is new."""
    folder = checkout.state / folder_name
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(COPIES_PER_SECOND):
            copy = folder / f"{file.stem}-{stamp}{f'-{number}' if number else ''}{file.suffix}"
            if not copy.exists():
                return Path(shutil.copy2(file, copy))
    except OSError as error:
        raise UserError(
            say(
                "No copy of {file} could be made ({error}), so it was left as it is. Make room in {folder}.",
                file=checkout.shown(file),
                error=error,
                folder=folder,
            )
            + owner_advice(folder)
        ) from error
    raise UserError(
        say(
            "No copy of {file} could be made, so it was left as it is. Tidy up {folder}.",
            file=checkout.shown(file),
            folder=folder,
        )
    )


def owner_advice(folder: Path, *files: Path) -> str:
    """What to do if `folder`, or one of these files, is somebody else's and cannot be written; empty if none is.

    After one command with sudo, the files that it wrote are root's. The sentence begins with a blank.
    """
    try:
        while not folder.exists():
            folder = folder.parent
        for path in (folder, *files):
            if path.exists() and not os.access(path, os.W_OK) and path.stat().st_uid != os.geteuid():
                command = f'sudo chown -R "$USER" {shlex.quote(str(folder))}'
                return say(
                    " {path} belongs to {owner}, perhaps since a command was run with sudo. Mend it with: {command}",
                    path=path,
                    owner=path.owner(),
                    command=command,
                )
    except (OSError, AttributeError, KeyError, NotImplementedError):  # Windows; or the owner has no name
        pass
    return ""


def digest(path: Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256; "" if it is no file that can be read."""
    try:
        if not path.is_file():  # reading a named pipe would wait for ever
            return ""
        return digest_of(path.read_bytes())
    except OSError:
        return ""
