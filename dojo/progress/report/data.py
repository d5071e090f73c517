"""The values that the report shows, computed from the history. No HTML and no drawing."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

from dojo.core import humanize
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.outcome import full_stop
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.attempts import Attempt, read_attempts
from dojo.progress.plan import Plan, make_plan, read_goal
from dojo.progress.runs import Progress
from dojo.progress.schedule import Due, Review, due_dates, read_reviews

WEEKS_AHEAD = 5  # in the calendar of due katas, with this week
WEEKS_BACK = 12  # in the chart of minutes by week, with this week


@dataclass(frozen=True)
class Standing:
    """The progress at one kata."""

    kata: Kata
    progress: Progress

    @property
    def solved(self) -> bool:
        return self.progress.state == "solved"

    @property
    def words(self) -> str:
        """The progress in words, for a table."""
        if self.solved:
            passes = self.progress.passes or not self.progress.total
            return say("solved") if passes else say("solved, taken again")
        if self.progress.state != "started":
            return say("not begun")
        return say("{passed} of {total} tests", passed=self.progress.passed, total=self.progress.total)

    @property
    def share(self) -> float:
        """The fraction that is done, 0 to 1: of the tests or of the stages, whichever is larger; 0 while no test passes."""
        if self.solved:
            return 1.0
        passed = self.progress.passed / self.progress.total if self.progress.total else 0.0
        return max(passed, len(self.progress.stages) / max(1, len(self.kata.stages))) if passed else 0.0


@dataclass(frozen=True)
class Track:
    """The katas of one track, in learning order."""

    name: str
    katas: tuple[Standing, ...]

    @property
    def solved(self) -> int:
        """How many of them are solved."""
        return sum(standing.solved for standing in self.katas)


@dataclass(frozen=True)
class Practised:
    """The attempts at one kata, oldest first; `minutes` are the catalogue's."""

    name: str
    title: str
    minutes: int
    attempts: tuple[Attempt, ...]

    @property
    def timed(self) -> tuple[Attempt, ...]:
        """The first and the newest of the attempts that passed the highest stage, or the only one; empty if no stage passed.

        Others are left out, because an attempt that ended at an earlier stage was not faster.
        """
        with_stages = [attempt for attempt in self.attempts if attempt.seconds and attempt.stages]
        highest = max((max(attempt.stages) for attempt in with_stages), default=0)
        comparable = [attempt for attempt in with_stages if max(attempt.stages) == highest]
        return (comparable[0], comparable[-1]) if len(comparable) > 1 else tuple(comparable)


@dataclass(frozen=True)
class Recurring:
    """A named mistake that was made in `attempts` of the `of` attempts at its kata, last at the time `last`."""

    kata: str
    name: str
    says: str
    attempts: int
    of: int
    last: float

    @property
    def clause(self) -> str:
        """What the mistake says, as a sentence of its own."""
        return full_stop(self.says[:1].upper() + self.says[1:])


@dataclass(frozen=True)
class Day:
    """One day of the calendar, and the names of the katas due on it."""

    day: date
    due: tuple[str, ...]


@dataclass(frozen=True)
class Week:
    """The minutes worked in the week that begins on `monday`."""

    monday: date
    minutes: float


@dataclass(frozen=True)
class Page:
    """All values of the report."""

    now: float
    tracks: tuple[Track, ...]
    attempts: tuple[Attempt, ...]  # newest first
    practised: tuple[Practised, ...]  # in learning order
    recurring: tuple[Recurring, ...]  # the most frequent first
    once: int  # number of mistakes that were made in a single attempt
    schedule: tuple[Due, ...]
    calendar: tuple[Day, ...]
    weeks: tuple[Week, ...]
    reviews: dict[tuple[str, float], Review]  # by kata and time
    plan: Plan | None = None  # the study plan, if one is followed

    @property
    def solved(self) -> int:
        """How many katas are solved."""
        return sum(track.solved for track in self.tracks)

    @property
    def katas(self) -> int:
        """How many katas there are."""
        return sum(len(track.katas) for track in self.tracks)

    @property
    def due(self) -> tuple[Due, ...]:
        """The katas that are due now."""
        return tuple(due for due in self.schedule if due.is_now(self.now))

    @property
    def days(self) -> int:
        """The number of days on which an attempt began."""
        return len({humanize.local(attempt.started).date() for attempt in self.attempts})

    @property
    def seconds(self) -> float:
        """The time worked in all attempts."""
        return sum(attempt.seconds or 0.0 for attempt in self.attempts)

    @property
    def next_kata(self) -> Kata | None:
        """What the plan has next; else what is started and not solved, or the first that is not; None if all are solved."""
        if self.plan and (planned := [item.kata for _, item in self.plan.ahead if not item.again]):
            return planned[0]
        standings = [standing for track in self.tracks for standing in track.katas]
        standings.sort(key=lambda standing: standing.progress.state != "started")
        return next((s.kata for s in standings if not s.solved), None)


def gather(checkout: Checkout, catalog: Catalog, now: float) -> Page:
    """Computes all values of the report at the time `now`."""
    attempts = read_attempts(checkout)
    schedule = due_dates(checkout, catalog)
    recurring = _recurring(attempts)
    standings = [Standing(kata, runs.progress(checkout, kata.name)) for kata in catalog.katas]
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
        _plan(checkout, catalog, now),
    )


def _plan(checkout: Checkout, catalog: Catalog, now: float) -> Plan | None:
    """The study plan; None if there is none, or if its role is no longer in the catalogue."""
    goal = read_goal(checkout)
    with suppress(UserError):
        return make_plan(checkout, catalog, goal, now) if goal else None
    return None


def _practised(catalog: Catalog, attempts: Sequence[Attempt]) -> tuple[Practised, ...]:
    """The katas with attempts: in learning order, then those that have left the catalogue."""
    by_kata: dict[str, list[Attempt]] = {kata.name: [] for kata in catalog.katas}
    for attempt in sorted(attempts, key=lambda attempt: attempt.kata):
        by_kata.setdefault(attempt.kata, []).append(attempt)
    katas = {kata.name: kata for kata in catalog.katas}
    return tuple(
        Practised(name, katas[name].title, katas[name].minutes, tuple(reversed(its_attempts)))
        if name in katas
        else Practised(name, name, 0, tuple(reversed(its_attempts)))
        for name, its_attempts in by_kata.items()
        if its_attempts
    )


def _recurring(attempts: Sequence[Attempt]) -> list[Recurring]:
    """Every named mistake, the most frequent first."""
    made: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    attempts_at: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        attempts_at[attempt.kata] += 1
        for diagnosis in attempt.diagnoses:
            made[attempt.kata, diagnosis.mistake].append((attempt.started, diagnosis.says))
    mistakes = [
        Recurring(kata, name, times[0][1], len(times), attempts_at[kata], max(at for at, _ in times))
        for (kata, name), times in made.items()
    ]
    return sorted(mistakes, key=lambda mistake: (-mistake.attempts, -mistake.last))


def _calendar(schedule: Sequence[Due], today: date) -> tuple[Day, ...]:
    """The days of whole weeks, from this week's Monday on. An overdue kata is put on today."""
    due = defaultdict(list)
    for item in schedule:
        due[max(today, humanize.local(item.at).date())].append(item.kata.name)
    monday = today - timedelta(days=today.weekday())
    days = [monday + timedelta(days=number) for number in range(7 * WEEKS_AHEAD)]
    return tuple(Day(day, tuple(due[day])) for day in days)


def _weeks(attempts: Sequence[Attempt], today: date) -> tuple[Week, ...]:
    """The minutes worked in each of the last weeks; an attempt counts in the week in which it began."""
    seconds: dict[date, float] = defaultdict(float)
    for attempt in attempts:
        day = humanize.local(attempt.started).date()
        seconds[day - timedelta(days=day.weekday())] += attempt.seconds or 0.0
    monday = today - timedelta(days=today.weekday())
    mondays = [monday - timedelta(weeks=number) for number in range(WEEKS_BACK - 1, -1, -1)]
    return tuple(Week(day, seconds[day] / 60) for day in mondays)
