"""What a kata asks, as the pages of a notebook and of the browser show it."""

from itertools import groupby

from dojo.core.catalog import Catalog, Kata

BEGINNING = 20  # letters that a question and a paragraph that asks it at greater length share


def paragraphs(kata: Kata, docstring: str) -> list[tuple[bool, str]]:
    """The question and the rules, from the docstring of the stub; True for a formula or a table, which keeps its lines."""
    found = docstring.strip("\n").split("\n\n")[1:]  # the first line is the title again
    if not asks(kata, found):
        found = [kata.question, *found]
    return [part for paragraph in found for part in _parts(paragraph)]


def asks(kata: Kata, paragraphs: list[str]) -> bool:
    """Whether the first of `paragraphs`, which follow a docstring's first line, asks the kata's question: most do."""
    first = " ".join(paragraphs[0].split()) if paragraphs else ""
    return "?" in first or "\N{FULLWIDTH QUESTION MARK}" in first or first.startswith(kata.question[:BEGINNING])


def _parts(paragraph: str) -> list[tuple[bool, str]]:
    """Its prose, and between that what is indented."""
    return [
        (indented, "\n".join(lines) if indented else " ".join(lines))
        for indented, lines in groupby(paragraph.splitlines(), key=lambda line: line.startswith(" "))
    ]


def by_track(catalog: Catalog) -> dict[str, list[Kata]]:
    """The katas of each track, in learning order."""
    tracks: dict[str, list[Kata]] = {}
    for kata in catalog.katas:
        tracks.setdefault(kata.track, []).append(kata)
    return tracks
