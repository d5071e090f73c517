"""Chooses the kata of a drill when none is named."""

from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.progress.sessions import Session, SessionLog


def choose(log: SessionLog, catalog: Catalog, track: str | None, minutes: float | None) -> Kata:
    """The kata drilled least recently among those of the track that fit into `minutes`.

    Among equals it is the first in learning order. Raises UserError if there is none.
    """
    tracks = list(dict.fromkeys(kata.track for kata in catalog.katas))
    if track and track not in tracks:
        raise UserError(
            say("There is no track called '{track}'. There are: {tracks}.", track=track, tracks=", ".join(tracks))
        )
    in_track = [kata for kata in catalog.katas if not track or kata.track == track]
    fitting = [kata for kata in in_track if not minutes or kata.minutes <= minutes]
    if not fitting:
        shortest = min(in_track, key=lambda kata: kata.minutes)
        raise UserError(
            say(
                "No kata fits into {minutes:g} minutes; the shortest takes {least}: kata drill {name}",
                minutes=minutes,
                least=shortest.minutes,
                name=shortest.name,
            )
        )
    return least_recent(fitting, log.sessions())


def least_recent(katas: list[Kata], sessions: list[Session]) -> Kata:
    """The kata whose last session is the oldest, or that has none; the first among equals."""
    last = {session.kata: session.id for session in sessions}
    return min(katas, key=lambda kata: last.get(kata.name, 0))
