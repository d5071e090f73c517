"""Checks the links between Markdown pages: every relative link leads to a file, every anchor to a heading.

    python -m dojo.authoring.links README.md CONTRIBUTING.md docs

Prints a line for each broken link, and exits with 1 if there is any. Links to the web are not followed.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)  # https:, mailto:, //host


@dataclass(frozen=True)
class Link:
    """One link or picture of a page, and the line on which its paragraph begins."""

    line: int
    target: str


def main(arguments: Sequence[str]) -> int:
    """Prints what is broken in the given pages and folders of pages; returns the exit code."""
    pages = find_pages(map(Path, arguments))
    broken = [f"{page}:{link.line}: {link.target}: {why}" for page in pages for link, why in find_broken(page)]
    print("\n".join(broken) or f"Every link leads somewhere. Pages: {len(pages)}.")
    return 1 if broken else 0


def find_pages(paths: Iterable[Path]) -> list[Path]:
    """The given files, and the Markdown files in the given folders and below."""
    return [page for path in paths for page in (sorted(path.rglob("*.md")) if path.is_dir() else [path])]


def find_broken(page: Path) -> Iterator[tuple[Link, str]]:
    """The broken links of one page, each with the reason."""
    if not page.is_file():
        yield Link(0, str(page)), "there is no such page"
        return
    for link in links(page.read_text(encoding="utf-8")):
        if ELSEWHERE.match(link.target):
            continue
        path, _, anchor = unquote(link.target).partition("#")
        target = page.parent / path if path else page
        if path.startswith("/"):
            yield link, "an absolute path; begin at the folder of this page"
        elif not target.exists():
            yield link, "there is no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            yield link, f"{target.name} has no heading #{anchor}"


def links(text: str) -> Iterator[Link]:
    """Every link and picture of a page. Code is left out."""
    for block in _parse(text):
        for token in block.children or ():
            target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
            if target:
                yield Link(block.map[0] + 1 if block.map else 0, str(target))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What `page#...` may say: GitHub's names of its headings."""
    blocks = _parse(page.read_text(encoding="utf-8"))
    headings = [
        "".join(token.content for token in inline.children or () if token.type in ("text", "code_inline"))
        for opening, inline in pairwise(blocks)
        if opening.type == "heading_open"
    ]
    names = []
    counts: Counter[str] = Counter()
    for heading in headings:
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        names.append(f"{name}-{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return frozenset(names)


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
