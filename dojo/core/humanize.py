"""Times and counts as people say them. Days are days of the local calendar."""

from datetime import date, datetime


def local(at: float) -> datetime:
    """Seconds since the epoch as the clock on the wall shows them."""
    return datetime.fromtimestamp(at)


def day(at: float, now: float) -> str:
    """ "Mon 9 Mar", with the year when it is another one than now's."""
    return date_in_words(local(at).date(), local(now).date())


def date_in_words(then: date, today: date) -> str:
    text = f"{then:%a} {then.day} {then:%b}"
    return text if then.year == today.year else f"{text} {then.year}"


def clock(at: float) -> str:
    return f"{local(at):%H:%M}"


def days_until(at: float, now: float) -> int:
    """Midnights between: 0 is today, negative is past."""
    return (local(at).date() - local(now).date()).days


def when_due(at: float, now: float) -> str:
    """ "3 days overdue", "today", "tomorrow", "in 5 days"."""
    days = days_until(at, now)
    if days < 0:
        return f"{count(-days, 'day')} overdue"
    return ("today", "tomorrow")[days] if days < 2 else f"in {days} days"


def minutes(seconds: float | None) -> str:
    """ "14 min", "1 h 05 min", and a dash where nobody knows."""
    if seconds is None:
        return "–"
    whole = round(seconds / 60)
    if whole < 1:
        return "< 1 min"
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02} min"


def count(number: int, thing: str, things: str = "") -> str:
    return f"{number} {thing if number == 1 else things or thing + 's'}"
