"""What a kata asks, as the pages of a notebook and of the browser show it."""

from itertools import groupby

from dojo.core.catalog import Catalog, Kata


def paragraphs(kata: Kata, docstring: str) -> list[tuple[bool, str]]:
    """The question and the rules, from the docstring of the stub; True for a formula or a table, which keeps its lines."""
    found = docstring.strip("\n").split("\n\n")[1:]  # the first line is the title again
    if not found or "?" not in found[0]:  # most docstrings ask the question, at greater length
        found = [kata.question, *found]
    return [part for paragraph in found for part in _parts(paragraph)]


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
