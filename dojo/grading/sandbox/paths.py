"""Which folders a worker imports from, and which files it may read.

A worker needs Python, torch and this package. It must not read the references and tests, be they in a checkout, in a pack or
installed, nor the submissions, the seed, or other files of the person who grades.
"""

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]  # dojo/
CHECKOUT = PACKAGE.parent
# What the interpreter and the system's libraries look up.
SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu",
)  # fmt: skip


def import_path(private: Iterable[Path] = ()) -> list[str]:
    """The sys.path of a worker: that of this process, without the entries that would open private files.

    An entry is left out if it lies in the checkout or in one of the `private` paths, or if it holds one of them, the
    current folder, the home folder or the folder of temporary files. Python's own libraries are always kept, wherever
    they lie, and so are other environments' in the checkout: virtual environments may be inside it, .tox/peers for one.
    """
    given = [path.resolve() for path in private]
    closed = [CHECKOUT, *given]
    standard = _resolved(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    around = [*closed, *_resolved((os.curdir, os.path.expanduser("~"), tempfile.gettempdir()))]
    entries = [
        str(entry) for entry in _resolved(entry for entry in sys.path if entry)
        if _lies_in(entry, standard) or (_is_environment(entry) and not _lies_in(entry, given))
        or not (_lies_in(entry, closed) or _holds_any(entry, around))
    ]  # fmt: skip
    return [str(CHECKOUT), *entries]  # of the checkout only the package can be read


def readable_paths(entries: Iterable[str]) -> list[str]:
    """What a worker may read whose sys.path is `entries`, a result of `import_path`."""
    always = [*_prefix(sys.prefix), *_prefix(sys.base_prefix), str(PACKAGE), *SYSTEM]
    libraries = [entry for entry in entries if Path(entry) != CHECKOUT and os.path.isdir(entry)]
    return [*dict.fromkeys(always + [entry for entry in libraries if not _lies_in(Path(entry), _resolved(always))])]


def _prefix(folder: str) -> list[str]:
    """An installation of Python, without the katas and references that the wheel has put into its share/."""
    if not os.path.isdir(os.path.join(folder, "share", "katas")):
        return [folder]
    return [entry.path for entry in os.scandir(folder) if entry.name != "share"]


def _is_environment(entry: Path) -> bool:
    """Whether the entry holds the packages of a virtual environment in the checkout."""
    return entry.name == "site-packages" and entry.is_relative_to(CHECKOUT)


def _resolved(paths: Iterable[str]) -> list[Path]:
    return [*dict.fromkeys(Path(path).resolve() for path in paths if os.path.exists(path))]


def _lies_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _holds_any(folder: Path, paths: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for path in paths)
