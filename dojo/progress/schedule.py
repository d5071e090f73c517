"""Spaced repetition: rates each attempt, and computes with FSRS (the `fsrs` library) when to solve the kata again.

Each attempt gives one review, at the moment when it is decided (Attempt.judged). In practice:

    Again  the solution was looked at before the tests passed
    Hard   solved with a hint, or in more than 1.5 times the catalogue's minutes
    Easy   solved without a hint in less than 0.6 times the minutes, counted without the limit for gaps (seconds_uncapped)
    Good   solved otherwise

A drill is rated by its points of 100: under 50 Again, under 75 Hard, under 95 Good, else Easy. Hunts are not rated.

Ratings are computed from the history when somebody asks what is due, and stored once. A kata's FSRS card is rebuilt by
replaying its stored ratings, with nothing random. Due dates are days of the local calendar.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dojo.core import humanize
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say, say_number, to_say
from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt, attempts_in
from dojo.progress.database import connect

if TYPE_CHECKING:
    from fsrs import Card

AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4  # as fsrs numbers them
RATINGS = {AGAIN: to_say("Again"), HARD: to_say("Hard"), GOOD: to_say("Good"), EASY: to_say("Easy")}
DAY_S = 24 * 3600.0
SLOW, FAST = 1.5, 0.6  # times the catalogue's minutes
POINTS_BELOW = ((50, AGAIN), (75, HARD), (95, GOOD))

# Katas of which something decisive was recorded after their last review. Some have nothing to rate after all (the kata
# was solved again in an attempt that has its review), but this is much faster than computing the attempts of all katas.
# Rows are compared by id, because the system's clock may have been wrong: a review has the time of the row it judges.
PERHAPS_UNRATED = """
    SELECT kata FROM run_summary AS run WHERE practice AND solved
        AND id > (SELECT coalesce(max(rated.id), 0) FROM run AS rated JOIN review USING (kata, at)
                  WHERE rated.kata = run.kata AND review.source = 'practice')
    UNION SELECT kata FROM event WHERE what = 'solution'
        AND id > (SELECT coalesce(max(rated.id), 0) FROM event AS rated JOIN review USING (kata, at)
                  WHERE rated.kata = event.kata AND review.source = 'practice')
    UNION SELECT kata FROM session WHERE kind = 'drill' AND ended IS NOT NULL AND points IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM review WHERE review.kata = session.kata AND review.at = ended AND source = 'drill')
"""


@dataclass(frozen=True)
class Review:
    """The rating of one attempt. `why` is a clause: "12 min of 20, no hint"."""

    at: float
    kata: str
    rating: int
    why: str

    @property
    def word(self) -> str:
        """ "Again", "Hard", "Good" or "Easy"."""
        return RATINGS[self.rating]


@dataclass(frozen=True)
class Due:
    """When one kata is to be solved again, and its last review."""

    kata: Kata
    at: float
    last: Review

    def is_now(self, now: float) -> bool:
        """Whether the kata is due today, or overdue."""
        return humanize.days_until(self.at, now) <= 0


def rate(attempt: Attempt, minutes: int) -> int:
    """The rating of a decided attempt, by the rules in the module's docstring; `minutes` are the catalogue's."""
    if attempt.points is not None:
        return next((rating for limit, rating in POINTS_BELOW if attempt.points < limit), EASY)
    if attempt.gave_up is not None:
        return AGAIN
    if attempt.hints or (attempt.seconds or 0) > SLOW * minutes * 60:
        return HARD
    uncapped = attempt.seconds_uncapped
    fast = uncapped is not None and 0 < uncapped < FAST * minutes * 60
    return EASY if fast else GOOD


def rate_new_attempts(checkout: Checkout, catalog: Catalog) -> list[Review]:
    """Rates the attempts that were decided since the last call, and schedules their katas; the new reviews, oldest first."""
    with connect(checkout) as db:
        if not _perhaps_unrated(db, catalog):
            return []
        db.execute("BEGIN IMMEDIATE")  # another kata process may be rating too
        new = []
        for kata in _perhaps_unrated(db, catalog):
            stored = db.execute("SELECT at, source FROM review WHERE kata = ?", (kata.name,))
            rated = {(at, source) for at, source in stored}
            for attempt in attempts_in(db, kata.name):
                source = "practice" if attempt.kind == "practice" else "drill"
                if attempt.judged is None or attempt.kind == "hunt" or (attempt.judged, source) in rated:
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


def due_dates(checkout: Checkout, catalog: Catalog) -> list[Due]:
    """When each kata that has a review is due; the earliest first. New attempts are rated before.

    A kata whose only reviews lie in the future, because the clock was wrong, is due now.
    """
    rate_new_attempts(checkout, catalog)
    now = time.time()
    with connect(checkout) as db:
        reviews = sorted(_reviews(db, catalog), key=lambda review: not _is_future(review.at, now))
        last = {review.kata: review for review in reviews}
        cards = dict(db.execute("SELECT kata, due FROM card").fetchall())
    dates = [Due(kata, cards[kata.name], last[kata.name]) for kata in catalog.katas if kata.name in last]
    dates = [replace(due, at=now) if _is_future(due.last.at, now) else due for due in dates]
    return sorted(dates, key=lambda due: due.at)


def read_reviews(checkout: Checkout, catalog: Catalog) -> list[Review]:
    """All reviews, oldest first. New attempts are rated before."""
    rate_new_attempts(checkout, catalog)
    with connect(checkout) as db:
        return _reviews(db, catalog)


def describe_new_ratings(checkout: Checkout, catalog: Catalog, now: float) -> list[str]:
    """Rates new attempts; a sentence for each kata that got a rating: which, why, and when to solve it again."""
    new = {review.kata: review for review in rate_new_attempts(checkout, catalog)}
    if not new:
        return []
    due = {item.kata.name: item.at for item in due_dates(checkout, catalog)}
    return [
        say(
            "{name} is rated {word} ({why}). To solve again: {when}, {day}.",
            name=name,
            word=say(review.word),
            why=review.why,
            when=humanize.when_due(due[name], now),
            day=humanize.day(due[name], now),
        )
        for name, review in new.items()
    ]


def due_now(checkout: Checkout, catalog: Catalog, now: float) -> list[Due]:
    """The katas that are due today or overdue, the earliest first."""
    return [due for due in due_dates(checkout, catalog) if due.is_now(now)]


def _is_future(at: float, now: float) -> bool:
    """Whether the clock that gave this time must have been wrong."""
    return at > now + DAY_S


def _perhaps_unrated(db: sqlite3.Connection, catalog: Catalog) -> list[Kata]:
    names = {name for (name,) in db.execute(PERHAPS_UNRATED)}
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
        return say("a drill") if points is None else say("{points:.0f} of 100 points", points=points)
    if rating == AGAIN:
        return say("solution seen first")
    hinted = say_number("{number} hint", "{number} hints", hints) if hints else say("no hint")
    if seconds is None:
        return say("{hinted}, time unknown", hinted=hinted)
    taken = humanize.minutes(seconds)
    if not minutes:
        return say("{taken}, {hinted}", taken=taken, hinted=hinted)
    return say("{taken} of {minutes}, {hinted}", taken=taken, minutes=minutes, hinted=hinted)


def _reschedule(db: sqlite3.Connection, kata: str) -> None:
    """Stores a new card of the kata, made of all its reviews."""
    rows = db.execute("SELECT at, id, rating FROM review WHERE kata = ?", (kata,)).fetchall()
    now = time.time()

    def when(at: float, number: int) -> float:
        """The time of a review; of one in the future, that of the first that was stored after it."""
        later = (other for other, n, _ in rows if n > number and not _is_future(other, now))
        return min(later, default=now) if _is_future(at, now) else at

    ratings = [(at, rating) for at, _, rating in sorted((when(at, number), number, r) for at, number, r in rows)]
    if ratings:
        card = replay(ratings)
        row = (kata, json.dumps(card.to_dict()), card.due.timestamp())
        db.execute("INSERT OR REPLACE INTO card(kata, card, due) VALUES (?, ?, ?)", row)


def replay(ratings: Sequence[tuple[float, int]]) -> "Card":
    """The FSRS card after these (time, rating). Without the library's steps of minutes, which are meant for vocabulary."""
    try:
        from fsrs import Card, Rating, Scheduler
    except ImportError as error:
        raise UserError("Repetition needs the fsrs library: pip install -q -r requirements.txt") from error
    scheduler = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    card = Card(card_id=1, due=_utc(ratings[0][0]))
    for at, rating in ratings:
        card, _ = scheduler.review_card(card, Rating(rating), _utc(at))
    return card


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
