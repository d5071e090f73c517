"""TODO: one line."""

from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.progress.sessions import Log, Session


def left(session: Session) -> list[str]:
    """What to say to someone who leaves before the end."""
    if session.id:
        return ["Left; the clock stands. Go on with: kata drill --resume"]
    return ["Left. This could not be recorded, so it cannot be resumed; your file stays where it is."]


def choose(log: Log, catalog: Catalog, track: str | None, minutes: float | None) -> Kata:
    """The kata to drill when none was named: of the track and short enough, the one drilled least recently."""
    tracks = list(dict.fromkeys(kata.track for kata in catalog.katas))
    if track and track not in tracks:
        raise UserError(f"There is no track called '{track}'. There are: {', '.join(tracks)}.")
    fits = [k for k in catalog.katas if (not track or k.track == track) and (not minutes or k.minutes <= minutes)]
    if not fits:
        shortest = min((k for k in catalog.katas if not track or k.track == track), key=lambda k: k.minutes)
        raise UserError(
            f"No kata fits into {minutes:g} minutes; the shortest takes {shortest.minutes}: kata drill {shortest.name}"
        )
    last = {session.kata: session.id for session in log.sessions()}
    return min(fits, key=lambda kata: last.get(kata.name, 0))  # the first in learning order among equals
