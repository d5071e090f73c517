"""Dates, times and counts as text for people. Dates and days are those of the local calendar."""

from datetime import date, datetime


def local(at: float) -> datetime:
    """Seconds since the epoch as a local date and time."""
    return datetime.fromtimestamp(at)


def day(at: float, now: float) -> str:
    """The date of `at`: "Mon 9 Mar"."""
    return date_in_words(local(at).date(), local(now).date())


def date_in_words(then: date, today: date) -> str:
    """ "Mon 9 Mar", with the year if it is not today's."""
    text = f"{then:%a} {then.day} {then:%b}"
    return text if then.year == today.year else f"{text} {then.year}"


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
        return f"{count(-days, 'day')} overdue"
    return ("today", "tomorrow")[days] if days < 2 else f"in {days} days"


def due_sentence(at: float, now: float) -> str:
    """ "It was due 3 days ago, Mon 9 Mar." or "It is due in 5 days, Tue 17 Mar."."""
    days = days_until(at, now)
    when = f"was due {count(-days, 'day')} ago" if days < 0 else f"is due {when_due(at, now)}"
    return f"It {when}, {day(at, now)}."


def minutes(seconds: float | None) -> str:
    """ "14 min" or "1 h 05 min"; a dash for None."""
    if seconds is None:
        return "–"
    total = round(seconds / 60)
    if total < 1:
        return "< 1 min"
    return f"{total} min" if total < 60 else f"{total // 60} h {total % 60:02} min"


def cut(text: str, width: int) -> str:
    """`text` in at most `width` characters, cut between words if that costs little: half a number would be another one."""
    if len(text) <= width:
        return text
    start = text[: max(0, width - 4)]
    whole, _, part = start.rpartition(" ")
    return f"{(whole if whole.strip() and len(part) < width / 3 else start).rstrip(' ,')} ..."


def count(number: int, singular: str, plural: str = "") -> str:
    """ "1 day" or "2 days"; `plural` is `singular` with an s unless given."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
