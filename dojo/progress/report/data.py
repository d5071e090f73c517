"""What the report shows, as plain values: worked out from the runs, with no HTML and no drawing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from dojo.core import humanize
from dojo.core.catalog import Catalog, Kata
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.attempts import Attempt, read_attempts
from dojo.progress.runs import Progress
from dojo.progress.schedule import Due, Review, due_dates, read_reviews

WEEKS_AHEAD = 5  # of the calendar, this one included
WEEKS_BACK = 12  # of the minutes by week


@dataclass(frozen=True)
class Standing:
    """One kata in its track. Whoever takes a solved kata again has solved it all the same."""

    kata: Kata
    progress: Progress
    solved: bool  # in any attempt

    @property
    def words(self) -> str:
        """Where it stands, for a table."""
        if self.solved:
            return "solved" if self.progress.state == "solved" else "solved, taken again"
        if self.progress.state != "started":
            return "not begun"
        return f"{self.progress.passed} of {self.progress.total} tests"

    @property
    def share(self) -> float:
        """0 to 1: how much of it stands, by stages; a begun kata is more than nothing."""
        if self.solved:
            return 1.0
        passed = self.progress.passed / self.progress.total if self.progress.total else 0.0
        return max(passed, len(self.progress.stages) / max(1, len(self.kata.stages))) if passed else 0.0


@dataclass(frozen=True)
class Track:
    """Katas that belong together, in learning order."""

    name: str
    katas: tuple[Standing, ...]

    @property
    def solved(self) -> int:
        return sum(standing.solved for standing in self.katas)


@dataclass(frozen=True)
class Practised:
    """One kata's attempts, oldest first; `minutes` is what the catalogue gives it."""

    name: str
    title: str
    minutes: int
    attempts: tuple[Attempt, ...]

    @property
    def timed(self) -> tuple[Attempt, ...]:
        """The first and the newest of the attempts that came furthest, or the only one; none if no stage was passed."""
        furthest = max((max(attempt.stages, default=0) for attempt in self.attempts if attempt.seconds), default=0)
        reached = [a for a in self.attempts if furthest and a.seconds and max(a.stages, default=0) == furthest]
        return (reached[0], reached[-1]) if len(reached) > 1 else tuple(reached)


@dataclass(frozen=True)
class Recurring:
    """A named mistake, and in how many of its kata's attempts it was made."""

    kata: str
    name: str
    says: str
    attempts: int
    of: int
    last: float

    @property
    def clause(self) -> str:
        """The sentence without the words that all such sentences begin with."""
        clause = self.says.partition(" is exactly what you get when ")[2] or self.says
        return f"{clause[:1].upper()}{clause[1:]}."


@dataclass(frozen=True)
class Day:
    """One day of the calendar, and what is due on it."""

    day: date
    due: tuple[str, ...]


@dataclass(frozen=True)
class Week:
    """The minutes practised in the week that begins on `monday`."""

    monday: date
    minutes: float


@dataclass(frozen=True)
class Page:
    """Everything that the report shows."""

    now: float
    tracks: tuple[Track, ...]
    attempts: tuple[Attempt, ...]  # newest first
    practised: tuple[Practised, ...]  # in learning order
    recurring: tuple[Recurring, ...]  # the most frequent first
    once: int  # mistakes that were made in one attempt only
    schedule: tuple[Due, ...]
    calendar: tuple[Day, ...]
    weeks: tuple[Week, ...]
    reviews: dict[tuple[str, float], Review]

    @property
    def solved(self) -> int:
        return sum(track.solved for track in self.tracks)

    @property
    def katas(self) -> int:
        return sum(len(track.katas) for track in self.tracks)

    @property
    def due(self) -> tuple[Due, ...]:
        return tuple(due for due in self.schedule if due.is_now(self.now))

    @property
    def days(self) -> int:
        """Days on which something was practised."""
        return len({humanize.local(attempt.started).date() for attempt in self.attempts})

    @property
    def seconds(self) -> float:
        return sum(attempt.seconds or 0.0 for attempt in self.attempts)

    @property
    def next_kata(self) -> Kata | None:
        """The first kata that was begun and not solved; else the first that was not begun."""
        standings = [standing for track in self.tracks for standing in track.katas]
        standings.sort(key=lambda standing: standing.progress.state != "started")
        return next((s.kata for s in standings if not s.solved), None)


def gather(checkout: Checkout, catalog: Catalog, now: float) -> Page:
    """The page as of `now`."""
    attempts = read_attempts(checkout)
    schedule = due_dates(checkout, catalog)
    recurring = _recurring(attempts)
    solved = {attempt.kata for attempt in attempts if attempt.kind == "practice" and attempt.solved is not None}
    standings = [Standing(kata, runs.progress(checkout, kata.name), kata.name in solved) for kata in catalog.katas]
    tracks = {
        standing.kata.track: [s for s in standings if s.kata.track == standing.kata.track] for standing in standings
    }
    return Page(
        now,
        tuple(Track(name, tuple(katas)) for name, katas in tracks.items()),
        tuple(attempts),
        _practised(catalog, attempts),
        tuple(mistake for mistake in recurring if mistake.attempts > 1),
        sum(mistake.attempts == 1 for mistake in recurring),
        tuple(schedule),
        _calendar(schedule, humanize.local(now).date()),
        _weeks(attempts, humanize.local(now).date()),
        {(review.kata, review.at): review for review in read_reviews(checkout, catalog)},
    )


def _practised(catalog: Catalog, attempts: Sequence[Attempt]) -> tuple[Practised, ...]:
    """Katas in learning order; what the catalogue no longer knows comes last."""
    known = {kata.name: kata for kata in catalog.katas}
    names = sorted({attempt.kata for attempt in attempts} - known.keys())
    found = []
    for name in [*known, *names]:
        these = tuple(reversed([attempt for attempt in attempts if attempt.kata == name]))
        kata = known.get(name)
        if these:
            found.append(Practised(name, kata.title if kata else name, kata.minutes if kata else 0, these))
    return tuple(found)


def _recurring(attempts: Sequence[Attempt]) -> list[Recurring]:
    made: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    tried: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        tried[attempt.kata] += 1
        for name, says in attempt.mistakes:
            made[attempt.kata, name].append((attempt.started, says))
    found = [
        Recurring(kata, name, times[0][1], len(times), tried[kata], max(at for at, _ in times))
        for (kata, name), times in made.items()
    ]
    return sorted(found, key=lambda mistake: (-mistake.attempts, -mistake.last))


def _calendar(schedule: Sequence[Due], today: date) -> tuple[Day, ...]:
    """Whole weeks from this Monday on; what is overdue stands on today."""
    due = defaultdict(list)
    for item in schedule:
        due[max(today, humanize.local(item.at).date())].append(item.kata.name)
    monday = today - timedelta(days=today.weekday())
    days = [monday + timedelta(days=number) for number in range(7 * WEEKS_AHEAD)]
    return tuple(Day(day, tuple(due[day])) for day in days)


def _weeks(attempts: Sequence[Attempt], today: date) -> tuple[Week, ...]:
    seconds: dict[date, float] = defaultdict(float)
    for attempt in attempts:
        day = humanize.local(attempt.started).date()
        seconds[day - timedelta(days=day.weekday())] += attempt.seconds or 0.0
    monday = today - timedelta(days=today.weekday())
    mondays = [monday - timedelta(weeks=number) for number in range(WEEKS_BACK - 1, -1, -1)]
    return tuple(Week(day, seconds[day] / 60) for day in mondays)
