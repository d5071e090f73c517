"""Reports which kata files were saved, however the editor saves them.

The files are looked at sixty times a second, which takes one or two percent of a core. The system's own reports of
changes (inotify) would miss some: none come from most network folders, from the file that a link in the folder leads to,
or when editors and servers have used up what the system has of them. `Fingerprints` then compares contents: editors touch
files without changing them, write swap files beside them, and replace them by renaming.
"""

import hashlib
import os
import threading
import time
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from dojo.core.files import digest

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()[:16]  # an editor that truncates before it writes has more to come
LOOK_INTERVAL_S, SETTLE_S = 0.015, 0.004
MAX_SHARE = 0.1  # of the time is spent on looking, where it is slow
STOP_TIMEOUT_S = 1.0
States = dict[str, tuple[int | str, ...]]


class FileWatcher:
    """A thread that sends into `connection` a set of names (files of `folder`, without .py) whenever some were written."""

    def __init__(self, folder: Path) -> None:
        self.connection, self._sending_end = Pipe(duplex=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(folder, _look(folder)), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _watch(self, folder: Path, reported: States) -> None:
        last, wait_s = reported, LOOK_INTERVAL_S
        while not self._stop.wait(wait_s):
            begin = time.monotonic()
            now = _look(folder)
            look_s = time.monotonic() - begin
            changed = {name for name in now.keys() | reported.keys() if now.get(name) != reported.get(name)}
            if changed and now == last:
                self._sending_end.send(changed)
                reported = now
            # A change is reported once two looks agree: an editor may be writing still.
            wait_s = max(SETTLE_S if now != last else LOOK_INTERVAL_S, look_s / MAX_SHARE)
            last = now


def _look(folder: Path) -> States:
    """What changes with every save of a Python file in `folder`, or of what a link there leads to; by name, without .py."""
    states: States = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # a link to nowhere, or deleted meanwhile
                if entry.name.endswith(".py"):
                    status = os.stat(entry.path)
                    times = status.st_mtime_ns, status.st_ctime_ns
                    # Where times are whole seconds, two saves within one second can only be told by their content.
                    content = "" if any(time % 10**9 for time in times) else digest(Path(entry.path))
                    states[entry.name[:-3]] = (*times, status.st_size, status.st_ino, content)
    return states


class Fingerprints:
    """The digest of each file of a folder when it was last looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests = {file.stem: digest(file) for file in folder.glob("*.py")}

    def changed(self, names: set[str], *, settled: bool = False) -> list[str]:
        """Those of `names` whose content has changed, in alphabetical order; empty files only once `settled`."""
        changed = []
        for name in sorted(names):
            now = digest(self.folder / f"{name}.py")
            if not now:
                self._digests.pop(name, None)  # deleted: any content that comes next is a change
            elif now != self._digests.get(name) and (settled or now != EMPTY_DIGEST):
                self._digests[name] = now
                changed.append(name)
        return changed
