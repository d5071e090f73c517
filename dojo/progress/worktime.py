"""How long someone worked on a kata, measured from the times of recorded events (runs, hints, readings of the question).

The time worked is the sum of the gaps between the events of an attempt. Each gap counts at most MAX_GAP_S. A longer gap
counts nothing if it ends with reading (the question, or the result of an untouched stub): the person had been away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_GAP_S = 10 * 60.0
SESSION_BREAK_S = 2 * 3600.0  # a reading so long before the first writing is not the beginning of the attempt
READING = ("reset", "show", "untouched run")


@dataclass(frozen=True)
class WorkEvent:
    """Something that was recorded about a kata: "run", "untouched run", "hint", "solution", "show" or "reset"."""

    at: float  # seconds since the epoch
    what: str

    @property
    def is_reading(self) -> bool:
        """Whether nothing need have been written before it."""
        return self.what in READING


@dataclass(frozen=True)
class WorkTime:
    """The time worked in one attempt."""

    started: float  # seconds since the epoch
    ended: float
    worked_s: Mapping[float, float]  # time of an event -> seconds worked until then
    seconds_uncapped: float | None  # see measure_work


def measure_work(events: Sequence[WorkEvent], solved: float | None) -> WorkTime | None:
    """Measures the events of one attempt (oldest first), which was solved at `solved`. None if nothing was written.

    `seconds_uncapped` is the time until `solved` without the limit for each gap. It is None if the first event shows a
    file that had been edited already: the time before is unknown.
    """
    if all(event.is_reading for event in events):
        return None
    while events[0].is_reading and events[1].at - events[0].at > (
        MAX_GAP_S if events[1].is_reading else SESSION_BREAK_S
    ):
        events = events[1:]
    worked, uncapped = 0.0, 0.0
    worked_s = {events[0].at: 0.0}
    for previous, event in pairwise(events):
        gap = max(0.0, event.at - previous.at)
        if not (event.is_reading and gap > MAX_GAP_S):
            worked += min(gap, MAX_GAP_S)
            if solved is None or event.at <= solved:
                uncapped += gap
        worked_s[event.at] = worked
    return WorkTime(events[0].at, events[-1].at, worked_s, uncapped if events[0].is_reading else None)
