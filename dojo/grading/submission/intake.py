"""Layer 0: from a submission's folder only the named files are read, as bytes, and nothing else in it is touched.

A kata is looked for as katas/NAME.py (a fork of the repository, say) and as NAME.py (files handed in loosely). Where
both exist and differ it is refused: if a grader chose, somebody would be graded on the file that they did not mean.
Where the folder has neither, and one folder in it does, that one counts: so archives unpack.

Below the submission's folder no link is followed. Hard links are accepted: stores that keep equal files once, and
backups, are made of them, no archive or checkout can carry one to a file outside, and what counts is the content.
"""

import difflib
import errno
import hashlib
import io
import os
import re
import stat
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.core.stubs import stub

MAX_BYTES = 64 * 1024
MAX_LINE = 400
LISTED = 2000  # entries of a folder that are looked at for a near miss; a folder may hold millions
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a fifo must not keep us waiting
UTF8 = {"utf-8", "utf8", "u8", "utf-8-sig"}
# Under these an all-ASCII file reads the same. Under utf-7 or unicode_escape it does not: that is what they are for.
SAME_FOR_ASCII = {"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252", "windows-1252"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # as tokenize has it
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

Status = Literal["ok", "not_attempted", "refused"]


@dataclass(frozen=True)
class Taken:
    """What was found of one kata. `source` is UTF-8 without a byte-order mark, its lines end in \\n."""

    kata: str
    source: bytes | None
    sha256: str | None  # of the file's bytes as they lie on disk
    status: Status
    reason: str = ""  # one sentence, unless ok


class _Refusal(Exception):
    """One sentence, to the learner."""


@dataclass(frozen=True)
class _Home:
    """The open folder that holds katas/ or the files themselves, and what lies there."""

    root: int
    prefix: str  # how it is shown, from the submission on: "" or "homework/"
    katas: int | None
    trouble: str  # why katas/ is not used
    listed: list[str]
    inner: list[str]  # in katas/
    known: frozenset[str]  # all katas
    nearly: dict[str, str]  # kata, the file that is nearly called so

    def near(self, name: str) -> str:
        """Why this kata may not have been found, with a blank before it; empty if nothing tells."""
        said = _near(name, f"{self.prefix}katas/", self.inner) or _near(name, self.prefix, self.listed)
        if not said and name in self.nearly:
            said = f" There is {self.nearly[name]}: rename it to {name}.py."
        return said


def take_in(folder: Path, names: Sequence[str], *, checkout: Checkout | None = None) -> dict[str, Taken]:
    """The files of the katas `names` in the submission `folder`.

    Raises UserError where there is no submission at all. `checkout` is where the stubs to compare with are rendered.
    """
    checkout = checkout or find_checkout()
    known = frozenset(names) | {file.stem for file in checkout.solutions.glob("[!_]*.py")}
    with _submission(folder) as top, _home(folder, top, known) as home:
        if not home.trouble and not any(name.endswith(".py") for name in [*home.inner, *home.listed]):
            raise UserError(_nothing_here(folder, home))
        return {name: _take(name, home, checkout) for name in names}


def take_file(file: Path, name: str, *, checkout: Checkout | None = None) -> Taken:
    """One file, under the same rules; raises UserError where there is none."""
    try:
        root = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        raw = _read(root, file.name, str(file))
    except _Refusal as refusal:
        return Taken(name, None, None, "refused", str(refusal))
    finally:
        os.close(root)
    if raw is None:
        raise UserError(f"There is no file {file}.")
    return _judge(name, str(file), raw, checkout or find_checkout())


def _take(name: str, home: _Home, checkout: Checkout) -> Taken:
    file = f"{name}.py"
    outer, inner = f"{home.prefix}{file}", f"{home.prefix}katas/{file}"
    try:
        loose = _read(home.root, file, outer)
        proper = _read(home.katas, file, inner) if home.katas is not None else None
        if home.trouble and loose is None:
            raise _Refusal(home.trouble)
        if loose is not None and proper is not None and loose != proper:
            raise _Refusal(f"There are two of it, {inner} and {outer}, and they differ; keep the one you mean.")
    except _Refusal as refusal:
        return Taken(name, None, None, "refused", str(refusal))
    if proper is not None:
        return _judge(name, inner, proper, checkout)
    if loose is not None:
        return _judge(name, outer, loose, checkout)
    near = home.near(name)
    if not near and not any(f"{kata}.py" in (*home.inner, *home.listed) for kata in home.known):
        near = next((f" There is {archive!a}: unpack it." for archive in home.listed if _is_archive(archive)), "")
    return Taken(name, None, None, "not_attempted", f"There is no {inner}.{near}")


def _judge(name: str, shown: str, raw: bytes, checkout: Checkout) -> Taken:
    """The bytes of a file that is there: refused, still the stub, or ok."""
    digest = hashlib.sha256(raw).hexdigest()
    try:
        text = _text(raw, shown)
    except _Refusal as refusal:
        return Taken(name, None, digest, "refused", str(refusal))
    source = text.encode()
    if "".join(text.split()) == "".join(stub(checkout, name).split()):
        return Taken(name, source, digest, "not_attempted", f"{shown} is still the stub.")
    return Taken(name, source, digest, "ok")


def _text(raw: bytes, shown: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Refusal(f"{shown} is stored as UTF-16; save it as UTF-8.")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if not raw.strip():
        raise _Refusal(f"{shown} is empty.")
    if _is_notebook(raw):
        raise _Refusal(f"{shown} is a notebook saved as .py: export it as Python.")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise _Refusal(f"{shown} holds a null byte in line {line}, so it is not a text; save it again as UTF-8.")
    raw = re.sub(rb"\r\n?", b"\n", raw)  # as Python reads it
    _check_cookie(raw, shown)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _Refusal(
            f"{shown} is not UTF-8: line {line} holds the byte 0x{raw[error.start]:02x}; save it as UTF-8."
        ) from error
    for number, line_ in enumerate(text.split("\n"), 1):
        if len(line_) > MAX_LINE:
            raise _Refusal(
                f"{shown}, line {number}, is {len(line_)} characters long, and {MAX_LINE} are allowed; break it."
            )
    return text


def _check_cookie(raw: bytes, shown: str) -> None:
    """`# coding: utf-7` would let Python run something else than what everybody reads."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    except SyntaxError as error:
        if "invalid or missing encoding" in str(error):
            return  # no cookie, and not UTF-8: said better by whoever decodes
        encoding = ""
    name = encoding.lower().replace("_", "-")
    if name in UTF8 or (name in SAME_FOR_ASCII and raw.isascii()):
        return
    written = next(filter(None, map(COOKIE.match, raw.split(b"\n", 2)[:2])), None)
    said = repr(written[1].decode()[:40]) if encoding and written else "one that Python does not know"
    raise _Refusal(f"{shown} names its own encoding ({said}) in a `coding:` line; delete that line and save as UTF-8.")


def _read(folder: int, file: str, shown: str) -> bytes | None:
    """The bytes of a regular file, None where there is none."""
    try:
        mode = os.stat(file, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):  # opening a device can do things
            raise _Refusal(_kind(shown, mode))
        handle = os.open(file, FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        said = (
            "is a link; put the file itself there"
            if error.errno == errno.ELOOP
            else f"cannot be read: {error.strerror}"
        )
        raise _Refusal(f"{shown} {said}.") from error
    with open(handle, "rb", buffering=0) as opened:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):  # swapped since
            raise _Refusal(_kind(shown, mode))
        raw = b""
        try:
            while len(raw) <= MAX_BYTES and (more := opened.read(MAX_BYTES + 1 - len(raw))):
                raw += more
        except OSError as error:
            raise _Refusal(f"{shown} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_BYTES and not _is_notebook(raw):  # or that is what is said of it
        raise _Refusal(
            f"{shown} is larger than {MAX_BYTES // 1024} kB; an answer is a few kB: remove data and outputs."
        )
    return raw


def _is_notebook(raw: bytes) -> bool:
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") and b'"cells"' in raw


def _is_archive(name: str) -> bool:
    return name.casefold().endswith(ARCHIVES)


def _kind(shown: str, mode: int) -> str:
    return f"{shown} is {KINDS.get(stat.S_IFMT(mode), 'no file')}, not a regular file; put the file itself there."


@contextmanager
def _home(folder: Path, top: int, known: frozenset[str]) -> Iterator[_Home]:
    """The submission's folder; if it holds no kata, the one folder in it that does."""
    with ExitStack() as stack:
        root, prefix = top, ""
        if not _holds_katas(top, known) and len(entries := _entries(top)) < LISTED:
            found: dict[str, int] = {}
            for entry in sorted(entries, key=lambda entry: entry.name):
                if len(found) < 3 and (handle := _open_home(top, entry, known)) is not None:
                    stack.callback(os.close, handle)
                    found[entry.name] = handle
            if len(found) > 1:
                raise UserError(_several(folder, list(found)))
            if found:
                ((name, root),) = found.items()
                prefix = f"{name if name.isprintable() else ascii(name)[1:-1]}/"
        katas, trouble = _katas_folder(root, prefix)
        if katas is not None:
            stack.callback(os.close, katas)
        listed = [entry.name for entry in _entries(root)]
        inner = [entry.name for entry in _entries(katas)] if katas is not None else []
        nearly = {**_nearly(prefix, listed, known), **_nearly(f"{prefix}katas/", inner, known)}
        yield _Home(root, prefix, katas, trouble, listed, inner, known, nearly)


def _open_home(top: int, entry: os.DirEntry[str], known: frozenset[str]) -> int | None:
    """A descriptor of this entry, if it is a folder that holds katas."""
    with suppress(OSError):
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            handle = os.open(entry.name, FOLDER, dir_fd=top)
            if _holds_katas(handle, known):
                return handle
            os.close(handle)
    return None


def _holds_katas(folder: int, known: frozenset[str]) -> bool:
    for name in ("katas", *(f"{kata}.py" for kata in known)):
        with suppress(OSError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return True
    return False


def _several(folder: Path, found: list[str]) -> str:
    return (
        f"{folder} holds no kata, but several folders in it do ({', '.join(map(ascii, found))}); give the one you mean. "
        f"If each of them is a submission: `kata grade-cohort {folder} --out OUT`."
    )


def _katas_folder(root: int, prefix: str) -> tuple[int | None, str]:
    """An open descriptor of katas/, or why it is not used."""
    try:
        mode = os.stat("katas", dir_fd=root, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            return (
                None,
                f"{prefix}katas is {KINDS.get(stat.S_IFMT(mode), 'a file')}, not a folder; put the folder itself there.",
            )
        return os.open("katas", FOLDER, dir_fd=root), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"The folder {prefix}katas cannot be read: {error.strerror}."


@contextmanager
def _submission(folder: Path) -> Iterator[int]:
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UserError(f"There is no folder {folder}; give the one that holds katas/*.py.") from error
    except NotADirectoryError as error:
        if folder.suffix == ".py":
            parent = folder.parent if folder.parent.name else folder.absolute().parent
            raise UserError(f"{folder} is a file; give the folder that holds it: {parent}") from error
        said = "an archive: unpack it, and" if _is_archive(folder.name) else "not a folder;"
        raise UserError(f"{folder} is {said} give the folder that holds katas/*.py.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
    try:
        yield root
    finally:
        os.close(root)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        return list(islice(found, LISTED))
    return []


def _nothing_here(folder: Path, home: _Home) -> str:
    """Where the katas may be instead. What the submission named is quoted, control characters and all."""
    if near := list(filter(None, map(home.near, sorted(home.known)))):
        return f"{folder} holds no kata.{''.join(near[:3])}"
    for name in [*home.listed, *home.inner]:
        if _is_archive(name):
            return f"{folder} holds {name!a}; unpack it, and give the folder that holds katas/*.py."
    for entry in _entries(home.root):
        with suppress(OSError):
            if entry.name != "katas" and entry.is_dir(follow_symlinks=False):
                os.stat(f"{entry.name}/katas", dir_fd=home.root, follow_symlinks=False)
                return f"{folder} holds no kata, but the folder {entry.name!a} in it has a folder katas; give that one."
    where = (
        f"{home.prefix}katas/ has no .py file"
        if home.katas is not None
        else "it has neither a folder katas nor .py files of its own"
    )
    return f"{folder} holds no kata: {where}. Give the folder that holds katas/*.py."


def _near(name: str, prefix: str, listed: list[str]) -> str:
    """`DDPM.py` or `ddpm.py.txt`, where ddpm.py is wanted."""
    ends = (".py", ".py.txt", ".txt", " (1).py", "(1).py", "-1.py", ".ipynb", ".py.zip", *ARCHIVES)
    meant = {f"{name}{end}".casefold() for end in ends}
    for found in listed:
        if found.casefold() in meant and found != f"{name}.py":
            if _is_archive(found):
                return f" There is {prefix}{found}: unpack it."
            if found.casefold().endswith(".ipynb"):
                return f" {prefix}{found} is a notebook: export it as {name}.py."
            return f" There is {prefix}{found}: rename it to {name}.py."
    return ""


def _nearly(prefix: str, listed: list[str], known: frozenset[str]) -> dict[str, str]:
    """`early_stoping.py`: which kata each file that is none is nearest to. Of many files some are looked at."""
    stems = [name.removesuffix(".py") for name in listed if name.endswith(".py") and name.isprintable()]
    others = [stem for stem in stems if stem not in known and len(stem) < 50 and not stem.startswith(("_", "test_"))]
    found: dict[str, str] = {}
    for stem in sorted(others)[:100]:
        for kata in difflib.get_close_matches(stem.casefold(), sorted(known), n=1, cutoff=0.75):
            found.setdefault(kata, f"{prefix}{stem}.py")
    return found
