"""The study plan of `kata plan`: which kata on which day until an interview.

It is laid out afresh whenever it is shown, from today to its last day, out of what is not solved yet. So it follows what
was really done, what a missed day held moves on, and no day gets more than its minutes. What no longer fits is left out.

Katas that are asked more often come first, and a role's tracks take turns; what a kata builds on comes before it. Solved
katas come back on the days that dojo.progress.schedule sets, for less time. Of those that the plan still holds it is
assumed that they will be solved, rated Good.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from math import ceil

from dojo.core import humanize
from dojo.core.catalog import ASKED, Catalog, Kata
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.attempts import read_attempts
from dojo.progress.database import connect
from dojo.progress.schedule import GOOD, due_dates, read_reviews, replay

DAYS, MINUTES = 14, 60  # of a plan that is not told otherwise
AGAIN_SHARE = 0.6  # of the catalogue's minutes, for a kata that was solved before
NEW_SHARE = 0.5  # of a day's minutes that repetition leaves to new katas, while there are any
TURNS_LATER = 2  # each entry of a role begins so many katas after the one before it
MORE_MINUTES = range(15, 241, 15)  # a day, that are tried when not all katas fit


@dataclass(frozen=True)
class Goal:
    """What a plan is for. An empty role means every kata."""

    role: str
    first: date
    days: int
    minutes: int  # a day

    @property
    def last(self) -> date:
        return self.first + timedelta(days=self.days - 1)


@dataclass(frozen=True)
class Item:
    """A kata on a day of the plan."""

    kata: Kata
    minutes: int
    again: bool = False
    done: bool = False


@dataclass(frozen=True)
class Plan:
    """The days from today on, each with its katas, and what no longer fits."""

    goal: Goal
    days: Mapping[date, Sequence[Item]]
    left_out: Sequence[Kata]
    fits: Callable[[int], bool]  # whether everything would fit with so many minutes a day
    solved: int
    katas: int
    worked_s: float  # since the plan began
    worked_days: int

    @property
    def ahead(self) -> list[tuple[date, Item]]:
        """What is still to do, in order."""
        return [(day, item) for day, items in self.days.items() for item in items if not item.done]

    def enough_minutes(self) -> int:
        """So many a day that everything fits; 0 if even four hours would not do, or if everything fits already."""
        more = (minutes for minutes in MORE_MINUTES if self.left_out and minutes > self.goal.minutes)
        return next((minutes for minutes in more if self.fits(minutes)), 0)


def store_goal(checkout: Checkout, goal: Goal) -> None:
    """Makes `goal` the plan that is followed from now on."""
    with connect(checkout) as db:
        row = (goal.role, goal.first.isoformat(), goal.days, goal.minutes)
        db.execute("INSERT INTO plan(role, first, days, minutes) VALUES (?, ?, ?, ?)", row)


def drop_goal(checkout: Checkout) -> None:
    """Follows no plan any more."""
    with connect(checkout) as db:
        db.execute("DELETE FROM plan")


def read_goal(checkout: Checkout) -> Goal | None:
    """The plan that was made last."""
    with connect(checkout) as db:
        row = db.execute("SELECT role, first, days, minutes FROM plan ORDER BY id DESC LIMIT 1").fetchone()
    return Goal(row[0], date.fromisoformat(row[1]), row[2], row[3]) if row else None


def make_plan(checkout: Checkout, catalog: Catalog, goal: Goal, now: float) -> Plan:
    """Lays out what is left of the plan at the time `now`. Raises UserError if its role is no longer there."""
    today = humanize.local(now).date()
    states = {kata.name: runs.progress(checkout, kata.name).state for kata in catalog.katas}
    asked = in_order(catalog, goal.role, states)
    names = {kata.name for kata in asked}
    attempts = [attempt for attempt in read_attempts(checkout) if attempt.kata in names]
    since = [a for a in attempts if humanize.local(a.started).date() >= goal.first]
    todays = [a for a in since if humanize.local(a.started).date() == today]
    solved_today = [a for a in todays if a.solved is not None and a.kind != "hunt"]
    done = [Item(catalog[a.kata], round((a.seconds or 0) / 60), done=True) for a in reversed(solved_today)]
    worked_today = ceil(sum(a.seconds or 0 for a in todays) / 60)
    new = [kata for kata in asked if states[kata.name] != "solved"]
    memory = Memory(checkout, catalog, {kata.name for kata in asked if states[kata.name] == "solved"})
    days = [today + timedelta(days=n) for n in range((goal.last - max(today, goal.first)).days + 1)]
    laid_out, left_out = lay_out(new, memory, days, goal.minutes, worked_today)
    if days:
        laid_out[today] = [*done, *laid_out[today]]
    return Plan(
        goal,
        laid_out,
        left_out,
        lambda minutes: not lay_out(new, memory, days, minutes, worked_today)[1],
        solved=len(asked) - len(new),
        katas=len(asked),
        worked_s=sum(a.seconds or 0.0 for a in since),
        worked_days=len({humanize.local(a.started).date() for a in since}),
    )


class Memory:
    """When the katas that are `solved` come back, and when those that a plan adds would."""

    def __init__(self, checkout: Checkout, catalog: Catalog, solved: set[str]) -> None:
        self.katas = {kata.name: kata for kata in catalog.katas}
        dates = due_dates(checkout, catalog)
        self.due = {d.kata.name: humanize.local(d.at).date() for d in dates if d.kata.name in solved}
        self.ratings: dict[str, tuple[tuple[float, int], ...]] = {}
        for review in read_reviews(checkout, catalog):
            self.ratings[review.kata] = (*self.ratings.get(review.kata, ()), (review.at, review.rating))

    def next_due(self, name: str, solved_on: Sequence[date]) -> date:
        """The day on which the kata comes back if it is solved on these days, beside what was really done."""
        planned = tuple((datetime.combine(day, time_of_day(12)).timestamp(), GOOD) for day in solved_on)
        return humanize.local(replay((*self.ratings.get(name, ()), *planned)).due.timestamp()).date()


class _Days:
    """The days of a plan while they are filled, and when their katas come back."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.due = memory, dict(memory.due)
        self.items: dict[date, list[Item]] = {}
        self._solved_on: dict[str, list[date]] = defaultdict(list)

    def put(self, day: date, kata: Kata, minutes: int, again: bool = False) -> int:
        """Adds the kata to the day. Returns its minutes."""
        self.items[day].append(Item(kata, minutes, again))
        self._solved_on[kata.name].append(day)
        self.due[kata.name] = self.memory.next_due(kata.name, self._solved_on[kata.name])
        return minutes

    def due_on(self, day: date) -> list[Kata]:
        """The katas that are due by then, the earliest first."""
        names = sorted((name for name in self.due if self.due[name] <= day), key=lambda name: self.due[name])
        return [self.memory.katas[name] for name in names]


def lay_out(
    new: Sequence[Kata], memory: Memory, days: Sequence[date], minutes: int, worked_today: int
) -> tuple[dict[date, list[Item]], list[Kata]]:
    """Puts the katas on days of at most `minutes`. Returns the days, and those of `new` that do not fit.

    Repetition goes first, up to half of a day, but not on two days before the same new kata. A new kata that is longer
    than a day fills it.
    """
    left, plan = list(new), _Days(memory)
    waiting: Kata | None = None  # the first of `left`, if repetition took its place on the day before
    for day in days:
        plan.items[day] = []
        free = max(0, minutes - worked_today) if day == days[0] else minutes
        kept_for_new = NEW_SHARE * free if left else 0.0
        again = plan.due_on(day)
        if left and (left[0] is waiting or not again) and (left[0].minutes <= free or free == minutes):
            first = left.pop(0)
            free -= plan.put(day, first, min(first.minutes, free))
            kept_for_new = 0.0
        for kata in again:
            cost = min(minutes, ceil(AGAIN_SHARE * kata.minutes))
            if free - cost >= kept_for_new or (not plan.items[day] and cost <= free):
                free -= plan.put(day, kata, cost, again=True)
        for kata in list(left):
            if kata.minutes <= free and not any(other.name in kata.builds_on for other in left):
                left.remove(kata)
                free -= plan.put(day, kata, kata.minutes)
        waiting = left[0] if left and any(item.again for item in plan.items[day]) else None
    return plan.items, left


def in_order(catalog: Catalog, role: str, states: Mapping[str, str]) -> list[Kata]:
    """The katas of the role, and those that they build on, in the order in which to solve them; begun ones first.

    Raises UserError for an unknown role.
    """
    entries = catalog.for_role(role) if role else {track: _of_track(catalog, track) for track in catalog.tracks}
    turns: dict[str, float] = {}
    for entry, katas_of_it in enumerate(entries.values()):
        for turn, kata in enumerate(katas_of_it):
            turns.setdefault(kata.name, turn + TURNS_LATER * entry)
    katas = [catalog[name] for name in turns]
    katas.sort(
        key=lambda kata: (
            states[kata.name] != "started",
            ASKED.index(kata.asked),
            kata.level == "stretch",
            turns[kata.name],
        )
    )
    return list(dict.fromkeys(needed for kata in katas for needed in _with_foundations(catalog, kata)))


def _of_track(catalog: Catalog, track: str) -> list[Kata]:
    return [kata for kata in catalog.katas if kata.track == track]


def _with_foundations(catalog: Catalog, kata: Kata) -> Iterator[Kata]:
    for name in kata.builds_on:
        yield from _with_foundations(catalog, catalog[name])
    yield kata
