"""Reports which kata files were saved, however the editor saves them.

The operating system reports writes, and `Fingerprints` then compares contents: editors touch files without changing them,
write swap files beside them, and replace them by renaming.
"""

import hashlib
import threading
from multiprocessing import Pipe
from pathlib import Path

from dojo.core.files import digest

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()[:16]  # an editor that truncates before it writes has more to come
DEBOUNCE_MS, STEP_MS, POLL_MS = 20, 5, 50
STOP_TIMEOUT_S = 1.0


class FileWatcher:
    """A thread that sends into `connection` a set of names (files of `folder`, without .py) whenever some were written."""

    def __init__(self, folder: Path) -> None:
        self.connection, self._sending_end = Pipe(duplex=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(folder,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _watch(self, folder: Path) -> None:
        from watchfiles import watch

        def is_python_file(_: object, path: str) -> bool:
            return path.endswith(".py")

        for polling in (None, True):  # without inotify (none free, or a network folder) look again and again
            try:
                for changes in watch(
                    folder,
                    watch_filter=is_python_file,
                    debounce=DEBOUNCE_MS,
                    step=STEP_MS,
                    poll_delay_ms=POLL_MS,
                    stop_event=self._stop,
                    recursive=False,
                    force_polling=polling,
                    raise_interrupt=False,
                ):
                    self._sending_end.send({Path(path).stem for _, path in changes})
                return
            except OSError:
                continue


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
