"""Tells which kata files were saved, whatever way the editor does it.

A thread waits for the operating system's word and sends the names on; `Contents` then decides by content, because
editors touch files without changing them, write swap files beside them, and replace them by renaming.
"""

import hashlib
import threading
from multiprocessing import Pipe
from pathlib import Path

from dojo.core.files import digest

EMPTY = hashlib.sha256(b"").hexdigest()[:16]  # an editor that truncates before it writes has more to come


class Saves:
    """`connection` gets a set of names (files of `folder` without their .py) whenever some were written."""

    def __init__(self, folder: Path) -> None:
        self.connection, self._sent = Pipe(duplex=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(folder,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(1)

    def _watch(self, folder: Path) -> None:
        from watchfiles import watch

        def python_file(_: object, path: str) -> bool:
            return path.endswith(".py")

        for polling in (None, True):  # no inotify left, or a network folder: look every 50 ms instead
            try:
                for changes in watch(
                    folder,
                    watch_filter=python_file,
                    debounce=20,
                    step=5,
                    poll_delay_ms=50,
                    stop_event=self._stop,
                    recursive=False,
                    force_polling=polling,
                    raise_interrupt=False,
                ):
                    self._sent.send({Path(path).stem for _, path in changes})
                return
            except OSError:
                continue


class Contents:
    """What each file held when it was last looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = {file.stem: digest(file) for file in folder.glob("*.py")}

    def changed(self, names: set[str], *, settled: bool = False) -> list[str]:
        """Those of `names` that now hold something else, in alphabetical order; empty files only once `settled`."""
        found = []
        for name in sorted(names):
            now = digest(self.folder / f"{name}.py")
            if not now:
                self.known.pop(name, None)  # deleted: whatever is written there next is new
            elif now != self.known.get(name) and (settled or now != EMPTY):
                self.known[name] = now
                found.append(name)
        return found
