"""The katas under test: `import katas.ddpm` loads `ddpm.py` from the folder that KATAS_DIR names.

The folder of this file is on the import path of pytest and its child processes (dojo.engine.target), and of nothing
else: elsewhere, `katas` is the folder of that name, as for any other Python package. Modules are compiled from their
source on every import: Python uses a cached .pyc file if size and time (in whole seconds) match, so after two quick
saves it could run the older code. Bytes that grading would refuse are refused here, too.
"""

import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from dojo.core.source import NotSource, decode, digest_of

directory = Path(os.environ["KATAS_DIR"]).resolve()
__path__ = [str(directory)]
digests: dict[str, str] = {}  # of the texts that were read, by kata; a file may be saved again while its tests run


class _FromSource(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        raw = self.get_data(path)
        digests.setdefault(fullname.partition(".")[2], digest_of(raw))
        try:
            text = decode(raw)
        except NotSource as error:
            raise NotSource(error.why, path) from None
        return self.source_to_code(text, path)


class _Switch:
    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package == "solutions":
            raise ImportError(
                f"'{fullname}' is the answer: a kata may not import it. Write the code in the kata's own file."
            )
        if package != "katas" or not name or "." in name:
            return None
        file = directory / f"{name}.py"
        return (
            spec_from_file_location(fullname, file, loader=_FromSource(fullname, str(file))) if file.is_file() else None
        )


sys.meta_path.insert(0, _Switch)
