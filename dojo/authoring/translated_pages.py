"""The learners' pages in other languages: which are missing, and which are older than their English.

Line 1 of a translated page is `<!-- English: DIGEST -->`, a digest of the page that it was translated from.
"""

import hashlib
import re
from pathlib import Path

from dojo.authoring.translations import Coverage
from dojo.core.files import write
from dojo.core.paths import Checkout

PAGES = ("README.md", "docs/katas.md", "docs/practising.md", "docs/interviews.md", "docs/troubleshooting.md")
WRITTEN = re.compile(r"<!-- (\w+): written by .*?-->.*?<!-- \1: end -->", re.DOTALL)  # tables and figures
HEAD = "<!-- English: {} -->"


def translation_of(page: str, code: str) -> str:
    """README.zh.md for README.md, docs/zh/NAME.md for docs/NAME.md."""
    path = Path(page)
    return f"{path.stem}.{code}.md" if path.parent == Path() else (path.parent / code / path.name).as_posix()


def coverage(checkout: Checkout, code: str) -> list[Coverage]:
    """A row for each page of this repository; none in a pack that has no such pages."""
    rows = []
    for page in PAGES:
        if (checkout.root / page).is_file():
            file = checkout.root / translation_of(page, code)
            there = file.is_file()
            current = there and _first_line(file) == _head(checkout, page)
            rows.append(Coverage(page, 1, int(there), int(there and not current)))
    return rows


def mark(checkout: Checkout, code: str) -> list[Path]:
    """Writes into each translated page that it says what its English says now. Returns the pages that changed."""
    changed = []
    for page in PAGES:
        file = checkout.root / translation_of(page, code)
        if file.is_file() and _first_line(file) != (head := _head(checkout, page)):
            old = file.read_text(encoding="utf-8")
            write(file, re.sub(r"\A<!-- English: .*? -->\n|\A", f"{head}\n", old, count=1))
            changed.append(file)
    return changed


def _first_line(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0]


def _head(checkout: Checkout, page: str) -> str:
    text = WRITTEN.sub("", (checkout.root / page).read_text(encoding="utf-8"))
    return HEAD.format(hashlib.sha256(text.encode()).hexdigest()[:12])
