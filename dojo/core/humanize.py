"""Dates, times and counts as text for people. Dates and days are those of the local calendar."""

from datetime import date, datetime

from rich.cells import cell_len, set_cell_size

from dojo.core.language import say, say_number, to_say

WEEKDAYS = (to_say("Mon"), to_say("Tue"), to_say("Wed"), to_say("Thu"), to_say("Fri"), to_say("Sat"), to_say("Sun"))
MONTHS = (
    to_say("Jan"),
    to_say("Feb"),
    to_say("Mar"),
    to_say("Apr"),
    to_say("May"),
    to_say("Jun"),
    to_say("Jul"),
    to_say("Aug"),
    to_say("Sep"),
    to_say("Oct"),
    to_say("Nov"),
    to_say("Dec"),
)


def local(at: float) -> datetime:
    """Seconds since the epoch as a local date and time."""
    return datetime.fromtimestamp(at)


def day(at: float, now: float) -> str:
    """The date of `at`: "Mon 9 Mar"."""
    return date_in_words(local(at).date(), local(now).date())


def date_in_words(then: date, today: date) -> str:
    """ "Mon 9 Mar", with the year if it is not today's."""
    names = {"weekday": say(WEEKDAYS[then.weekday()]), "day": then.day, "month": say(MONTHS[then.month - 1])}
    if then.year == today.year:
        return say("{weekday} {day} {month}", **names)
    return say("{weekday} {day} {month} {year}", **names, year=then.year)


def short_date(day: date, today: date | None = None) -> str:
    """ "9 Mar", with the year if it is not today's."""
    if today and day.year != today.year:
        return say("{day} {month} {year}", day=day.day, month=month(day), year=day.year)
    return say("{day} {month}", day=day.day, month=month(day))


def month(day: date) -> str:
    """ "Mar"."""
    return say(MONTHS[day.month - 1])


def clock(at: float) -> str:
    """The time of day: "14:05"."""
    return f"{local(at):%H:%M}"


def days_until(at: float, now: float) -> int:
    """The number of midnights between `now` and `at`: 0 is today, a negative number is past."""
    return (local(at).date() - local(now).date()).days


def when_due(at: float, now: float) -> str:
    """ "3 days overdue", "today", "tomorrow" or "in 5 days"."""
    days = days_until(at, now)
    if days < 0:
        return say_number("{number} day overdue", "{number} days overdue", -days)
    return (say("today"), say("tomorrow"))[days] if days < 2 else say("in {days} days", days=days)


def due_sentence(at: float, now: float) -> str:
    """ "It was due 3 days ago, Mon 9 Mar." or "It is due in 5 days, Tue 17 Mar."."""
    days = days_until(at, now)
    if days < 0:
        return say_number(
            "It was due {number} day ago, {day}.", "It was due {number} days ago, {day}.", -days, day=day(at, now)
        )
    return say("It is due {when}, {day}.", when=when_due(at, now), day=day(at, now))


def minutes(seconds: float | None) -> str:
    """ "14 min" or "1 h 05 min"; a dash for None."""
    if seconds is None:
        return "–"
    total = round(seconds / 60)
    if total < 1:
        return say("< 1 min")
    if total < 60:
        return say("{minutes} min", minutes=total)
    return say("{hours} h {minutes:02} min", hours=total // 60, minutes=total % 60)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, cut between words if that costs little: half a number would be another one."""
    if cell_len(text) <= width:
        return text
    start = set_cell_size(text, max(0, width - 4))
    whole, _, part = start.rpartition(" ")
    return f"{(whole if whole.strip() and len(part) < width / 3 else start).rstrip(' ,')} ..."


def count(number: int, singular: str, plural: str = "") -> str:
    """ "1 day" or "2 days"; `plural` is `singular` with an s unless given."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
