"""Spaced repetition: when to solve a kata again. FSRS (the `fsrs` library) schedules; here it is told how it went.

Each attempt gives one review, at the moment that decides it (dojo.progress.attempts). In practice, whichever way the tests ran:

    Again  the solution was looked at before the tests passed
    Hard   solved with a hint, or in more than 1.5 times the catalogue's minutes
    Easy   solved without a hint in less than 0.6 times the minutes, by the clock on the wall, from a start that was seen
    Good   solved otherwise

A drill is rated by its points of 100: under 50 Again, under 75 Hard, under 95 Good, else Easy.

Reviews are read off the recorded runs and events whenever someone asks what is due, and stay as they were rated then; a
kata's card is its reviews replayed. Nothing is random. A kata is due from the morning of its day.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dojo.core import humanize
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt, attempts_in
from dojo.progress.database import connect

AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4  # as fsrs numbers them
RATINGS = {AGAIN: "Again", HARD: "Hard", GOOD: "Good", EASY: "Easy"}
SLOW, FAST = 1.5, 0.6  # times the catalogue's minutes

SOLVED_OR_SEEN = """
    SELECT kata FROM run WHERE complete AND how IN ('test', 'watch')
        AND at > (SELECT coalesce(max(at), 0) FROM review WHERE review.kata = run.kata AND review.source = 'practice')
        AND EXISTS (SELECT 1 FROM outcome WHERE run = run.id AND verdict = 'passed')
        AND NOT EXISTS (SELECT 1 FROM outcome WHERE run = run.id AND verdict NOT IN ('passed', 'skipped'))
    UNION SELECT kata FROM event WHERE what = 'solution'
        AND at > (SELECT coalesce(max(at), 0) FROM review WHERE review.kata = event.kata AND review.source = 'practice')
    UNION SELECT kata FROM session WHERE kind = 'drill' AND ended IS NOT NULL AND points IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM review WHERE review.kata = session.kata AND review.at = ended AND source = 'drill')
"""


@dataclass(frozen=True)
class Review:
    """How one attempt went. `why` is a clause: "12 of 20 minutes, no hint"."""

    at: float
    kata: str
    rating: int
    why: str

    @property
    def word(self) -> str:
        return RATINGS[self.rating]


@dataclass(frozen=True)
class Due:
    """When one kata is to be solved again, and the review that says so."""

    kata: Kata
    at: float
    last: Review

    def is_now(self, now: float) -> bool:
        return humanize.days_until(self.at, now) <= 0


def rate(attempt: Attempt, minutes: int) -> int:
    """The rating of an attempt that is decided; the rules stand above."""
    if attempt.points is not None:
        return next((rating for limit, rating in ((50, AGAIN), (75, HARD), (95, GOOD)) if attempt.points < limit), EASY)
    if attempt.gave_up is not None:
        return AGAIN
    if attempt.hints or (attempt.seconds or 0) > SLOW * minutes * 60:
        return HARD
    fast = attempt.at_most is not None and 0 < attempt.at_most < FAST * minutes * 60
    return EASY if fast else GOOD


def settle(checkout: Checkout, catalog: Catalog) -> list[Review]:
    """Rates what has been decided since the last time, and schedules it; returns the new reviews, oldest first."""
    with connect(checkout) as db:
        if not _undecided(db, catalog):
            return []
        db.execute("BEGIN IMMEDIATE")  # another kata process may be asking too
        new = []
        for kata in _undecided(db, catalog):
            known = {
                (at, source) for at, source in db.execute("SELECT at, source FROM review WHERE kata = ?", (kata.name,))
            }
            for attempt in attempts_in(db, kata.name):
                source = "practice" if attempt.kind == "practice" else "drill"
                if attempt.judged is None or attempt.kind == "hunt" or (attempt.judged, source) in known:
                    continue
                row = (attempt.judged, kata.name, rate(attempt, kata.minutes), attempt.seconds, attempt.hints, source)
                db.execute(
                    "INSERT INTO review(at, kata, rating, seconds, hints, source) VALUES (?, ?, ?, ?, ?, ?)", row
                )
                new.append((attempt.judged, kata.name))
            if any(name == kata.name for _, name in new):
                _reschedule(db, kata.name)
        reviews = [review for review in _reviews(db, catalog) if (review.at, review.kata) in new]
    return sorted(reviews, key=lambda review: review.at)


def schedule(checkout: Checkout, catalog: Catalog) -> list[Due]:
    """Every kata that has been reviewed, the one that is due first at the head."""
    settle(checkout, catalog)
    with connect(checkout) as db:
        last = {review.kata: review for review in _reviews(db, catalog)}
        cards = dict(db.execute("SELECT kata, due FROM card").fetchall())
    found = [Due(kata, cards[kata.name], last[kata.name]) for kata in catalog.katas if kata.name in last]
    return sorted(found, key=lambda due: due.at)


def reviews(checkout: Checkout, catalog: Catalog) -> list[Review]:
    """All that have been given, oldest first."""
    settle(checkout, catalog)
    with connect(checkout) as db:
        return _reviews(db, catalog)


def news(checkout: Checkout, catalog: Catalog, now: float) -> list[str]:
    """A sentence for each attempt that has been decided since the last time: its rating, why, and when to repeat."""
    new = {review.kata: review for review in settle(checkout, catalog)}
    if not new:
        return []
    due = {item.kata.name: item.at for item in schedule(checkout, catalog)}
    return [
        f"{name} is rated {review.word} ({review.why}). To solve again: {humanize.when_due(due[name], now)}, "
        f"{humanize.day(due[name], now)}."
        for name, review in new.items()
    ]


def due_now(checkout: Checkout, catalog: Catalog, now: float) -> list[Due]:
    return [due for due in schedule(checkout, catalog) if due.is_now(now)]


def _undecided(db: sqlite3.Connection, catalog: Catalog) -> list[Kata]:
    names = {name for (name,) in db.execute(SOLVED_OR_SEEN)}
    return [kata for kata in catalog.katas if kata.name in names]


def _reviews(db: sqlite3.Connection, catalog: Catalog) -> list[Review]:
    points = {(name, ended): value for name, ended, value in db.execute("SELECT kata, ended, points FROM session")}
    minutes = {kata.name: kata.minutes for kata in catalog.katas}
    return [
        Review(at, name, rating, _why(rating, seconds, hints, minutes.get(name), points.get((name, at)), source))
        for at, name, rating, seconds, hints, source in db.execute(
            "SELECT at, kata, rating, seconds, hints, source FROM review ORDER BY at, id"
        )
    ]


def _why(rating: int, seconds: float | None, hints: int, minutes: int | None, points: float | None, source: str) -> str:
    if source == "drill":
        return "a drill" if points is None else f"{points:.0f} of 100 points"
    if rating == AGAIN:
        return "solution seen first"
    hinted = humanize.count(hints, "hint") if hints else "no hint"
    if seconds is None:
        return f"{hinted}, time unknown"
    return (
        f"{humanize.minutes(seconds)} of {minutes}, {hinted}" if minutes else f"{humanize.minutes(seconds)}, {hinted}"
    )


def _reschedule(db: sqlite3.Connection, kata: str) -> None:
    """The kata's card: a new one, with every review replayed."""
    rated = db.execute("SELECT at, rating FROM review WHERE kata = ? ORDER BY at, id", (kata,)).fetchall()
    if rated:
        card = replay(rated)
        row = (kata, json.dumps(card.to_dict()), card.due.timestamp())
        db.execute("INSERT OR REPLACE INTO card(kata, card, due) VALUES (?, ?, ?)", row)


def replay(rated: Sequence[tuple[float, int]]) -> Any:
    """The library's card after these (time, rating). Steps of minutes, made for vocabulary, are left out: days only."""
    try:
        from fsrs import Card, Rating, Scheduler
    except ImportError as error:
        raise UserError("Repetition needs the fsrs library: pip install -q -r requirements.txt") from error
    scheduler = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    card = Card(card_id=1, due=_utc(rated[0][0]))
    for at, rating in rated:
        card, _ = scheduler.review_card(card, Rating(rating), _utc(at))
    return card


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
