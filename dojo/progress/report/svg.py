"""The report's pictures, as inline SVG.

Horizontal positions are percentages and most pictures have no viewBox: a picture is as wide as its column, and its text
keeps the page's font size. Colours come from the page's style sheet by class. Each picture has a title and a description.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import count

from markupsafe import Markup, escape

from dojo.core import humanize
from dojo.core.language import say, say_number
from dojo.progress.attempts import Attempt
from dojo.progress.report.data import Day, Practised, Standing, Track, Week

BAR_GAP_PERCENT = 0.4
_numbers = count(1)


def element(tag: str, text: str = "", /, **attributes: object) -> Markup:
    """One SVG element, all values escaped. In attribute names a final `_` is dropped (`class_`) and `_` becomes `-`."""
    attribute_text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{attribute_text}>{escape(text)}</{tag}>")


def picture(
    title: str, description: str, height: float, *parts: Markup, width: str = "100%", scaled_to: float | None = None
) -> Markup:
    """One SVG with a title and a description. With `scaled_to` (its width in pixels) the drawing scales with its column."""
    number = next(_numbers)
    size = f'viewBox="0 0 {scaled_to:g} {height:g}"' if scaled_to else f'width="{width}" height="{height:g}"'
    head = element("title", title, id=f"t{number}") + element("desc", description, id=f"d{number}")
    return Markup(
        f'<svg role="img" aria-labelledby="t{number}" aria-describedby="d{number}" {size}>{head}{Markup().join(parts)}</svg>'
    )


def hover(element_: Markup, text: str) -> Markup:
    """The element with a tooltip."""
    return Markup(f"<g>{element('title', text)}{element_}</g>")


def percent(value: float) -> str:
    return f"{value:.2f}%"


# -- minutes by week


def week_bars(weeks: Sequence[Week]) -> Markup:
    """A bar for each week; the highest is labelled with its minutes."""
    most = max((week.minutes for week in weeks), default=0) or 1
    step, high = 100 / len(weeks), 84
    parts = [element("line", x1=0, x2="100%", y1=high + 18, y2=high + 18, class_="axis")]
    for number, week in enumerate(weeks):
        tall = max(2.0, high * week.minutes / most) if week.minutes else 0
        box = {"x": percent(step * number + 0.8), "width": percent(step - 1.6), "rx": 2}
        bar = element("rect", **box, y=round(high + 18 - tall, 1), height=round(tall, 1), class_="bar")
        monday = humanize.short_date(week.monday)
        parts.append(hover(bar, say("week of {day}: {minutes:.0f} minutes", day=monday, minutes=week.minutes)))
        middle = percent(step * (number + 0.5))
        if week.minutes == most:
            label = humanize.minutes(week.minutes * 60)
            parts.append(
                element("text", label, x=middle, y=12, text_anchor=_anchor(number, len(weeks)), class_="value")
            )
        if number % 4 == 3 or number == 0:
            label = say("this week") if number == len(weeks) - 1 else monday
            anchor = _anchor(number, len(weeks))
            at = {"start": percent(step * number), "end": "100%"}.get(anchor, middle)
            parts.append(element("text", label, x=at, y=high + 36, text_anchor=anchor))
    worked = [f"{humanize.short_date(week.monday)} {week.minutes:.0f}" for week in weeks if week.minutes]
    title = say("Minutes practised in the last {number} weeks", number=len(weeks))
    return picture(title, "; ".join(worked) or say("None yet."), high + 42, *parts)


def _anchor(number: int, total: int) -> str:
    return "start" if number == 0 else "end" if number == total - 1 else "middle"


# -- what is due


def calendar(days: Sequence[Day], today: date) -> Markup:
    """A row for each week. A day with due katas is filled, the darker the more are due."""
    cell, top = 44, 24
    parts = [
        element("text", say(name), x=cell * number + cell / 2, y=14, text_anchor="middle")
        for number, name in enumerate(humanize.WEEKDAYS)
    ]
    for number, day in enumerate(days):
        x, y = cell * (number % 7), top + cell * (number // 7)
        box = {"x": x + 2, "y": y + 2, "width": cell - 4, "height": cell - 4, "rx": 6}
        kind = "past" if day.day < today else f"due{min(3, len(day.due))}" if day.due else "free"
        square = element("rect", **box, class_=f"day {kind}{' today' if day.day == today else ''}")
        month = humanize.month(day.day)
        label = say("{month} {day}", month=month, day=1) if day.day.day == 1 else str(day.day.day)
        if day.due:
            square += element("text", label, x=x + 8, y=y + 16, class_=f"small on-{kind}")
            square += element(
                "text", str(len(day.due)), x=x + cell / 2, y=y + 34, text_anchor="middle", class_=f"number on-{kind}"
            )
            square = hover(square, _due_on(day))
        else:
            square += element("text", label, x=x + 8, y=y + 16, class_="small faint" if kind == "past" else "small")
        parts.append(square)
    description = "; ".join(_due_on(day) for day in days if day.due)
    return picture(
        say("What is due in the next {number} weeks", number=len(days) // 7),
        description or say("Nothing."),
        top + cell * (len(days) // 7),
        *parts,
        scaled_to=7 * cell,
    )


def _due_on(day: Day) -> str:
    return say("{day}: {katas}", day=humanize.short_date(day.day), katas=", ".join(day.due))


# -- progress by track


def track_cells(track: Track) -> Markup:
    """A square for each kata, filled from below by the fraction that is done, with a tick if it is solved."""
    size, across = 26, 9  # which is as wide as the narrowest telephone
    parts = []
    for number, standing in enumerate(track.katas):
        x, y = (size + 5) * (number % across) + 1, (size + 5) * (number // across) + 1
        tall = size * standing.share
        square = element("rect", x=x, y=y, width=size, height=size, rx=5, class_="cell")
        if standing.share == 1:
            square += element("rect", x=x, y=y, width=size, height=size, rx=5, class_="cell full")
            square += element("path", d=f"M{x + 7} {y + 13.5}l4.5 4.5 8-9.5", class_="tick")
        elif tall:
            filled = max(6.0, tall)
            square += element(
                "rect", x=x + 3, y=y + size - filled, width=size - 6, height=filled - 3, rx=2, class_="part"
            )
        parts.append(hover(square, _stands(standing)))
    lines = (len(track.katas) + across - 1) // across
    title = say("{track}: {solved} of {total} solved", track=track.name, solved=track.solved, total=len(track.katas))
    return picture(title, "; ".join(map(_stands, track.katas)), (size + 5) * lines - 3, *parts)


def _stands(standing: Standing) -> str:
    return say("{title}: {words}", title=standing.kata.title, words=standing.words)


# -- attempts over time


class Span:
    """The days of the time lines, and their horizontal positions in percent."""

    def __init__(self, attempts: Sequence[Attempt], now: float) -> None:
        first = humanize.local(min((attempt.started for attempt in attempts), default=now)).date()
        self.last = humanize.local(now).date() + timedelta(days=1)
        self.first = min(first, self.last - timedelta(days=14))
        self.ticks = list(self._ticks())

    def at(self, moment: float) -> float:
        """The position of a moment (seconds since the epoch)."""
        local = humanize.local(moment)
        since_midnight_s = (local - local.replace(hour=0, minute=0, second=0, microsecond=0)).seconds
        return self.of(local.date()) + 100 * since_midnight_s / 86400 / self._days

    def of(self, day: date) -> float:
        """The position of the beginning of a day."""
        return 100 * (day - self.first).days / self._days

    @property
    def _days(self) -> int:
        return max(1, (self.last - self.first).days)

    def _ticks(self) -> list[date]:
        """The labelled days: firsts of months, or Mondays in a short span. At most five, none near the edges."""
        months = [date(year, month, 1) for year in range(self.first.year, self.last.year + 1) for month in range(1, 13)]
        days = [day for day in months if self.first < day < self.last]
        if len(days) < 2:
            monday = self.first - timedelta(days=self.first.weekday())
            days = [monday + timedelta(weeks=number) for number in range(1, self._days // 7 + 2)]
        days = [day for day in days if 4 < self.of(day) < 92]
        return days[:: -(-len(days) // 5) or 1]

    def grid(self, height: float) -> list[Markup]:
        """A vertical line for each labelled day."""
        return [
            element("line", x1=percent(self.of(day)), x2=percent(self.of(day)), y1=0, y2=height, class_="grid")
            for day in self.ticks
        ]


def time_axis(span: Span) -> Markup:
    """The dates above the time lines."""
    dates = [(humanize.short_date(day), percent(span.of(day))) for day in span.ticks]
    labels = [element("text", text, x=x, y=13, text_anchor="middle") for text, x in dates]
    ends = {"first": humanize.short_date(span.first), "last": humanize.short_date(span.last - timedelta(days=1))}
    return picture(say("Dates"), say("The time lines below go from {first} to {last}.", **ends), 18, *labels)


def timeline(practised: Practised, span: Span) -> Markup:
    """A mark for each attempt; its shape and colour show how it ended (see `mark`)."""
    middle = 13
    parts = [*span.grid(26), element("line", x1=0, x2="100%", y1=middle, y2=middle, class_="axis")]
    for attempt in practised.attempts:
        x = percent(span.at(attempt.started))
        tooltip = say("{day:02} {month}, {how}: {outcome}, {minutes}", **_values(attempt))
        parts.append(hover(mark(attempt, x, middle), tooltip))
    description = "; ".join(say("{day:02} {month} {how}: {outcome}", **_values(a)) for a in practised.attempts)
    title = say_number(
        "{title}: {number} attempt", "{title}: {number} attempts", len(practised.attempts), title=practised.title
    )
    return picture(title, description, 26, *parts)


def _values(attempt: Attempt) -> dict[str, object]:
    day, minutes = humanize.local(attempt.started).date(), humanize.minutes(attempt.seconds)
    how = {"how": attempt.how, "outcome": outcome(attempt), "minutes": minutes}
    return {"day": day.day, "month": humanize.month(day), **how}


def outcome(attempt: Attempt) -> str:
    """How the attempt ended: its points, or its state."""
    if attempt.points is not None:
        return say("{points:.0f} points", points=attempt.points)
    return say(attempt.state)


def mark(attempt: Attempt, x: str, y: float) -> Markup:
    """A disc if solved, a ring if unfinished, a cross if given up; for a drill or hunt a diamond, filled if solved."""
    state = {"solved": "solved", "gave up": "gave-up", "unfinished": "open"}[attempt.state]
    if attempt.kind != "practice":
        shape = element("path", d="M0-7 7 0 0 7-7 0Z", class_=f"mark {state}")
    elif state == "gave-up":
        shape = element("path", d="M-4.5-4.5l9 9m0-9l-9 9", class_="mark gave-up")
    else:
        shape = element("circle", r=5.5, class_=f"mark {state}")
    # The position is in percent and the shape in pixels, so the shape needs an <svg> of its own.
    return Markup(f'<svg x="{x}" y="{y:g}" overflow="visible">{shape}</svg>')


# -- time to each stage


def stage_bars(practised: Practised, longest: float) -> Markup:
    """Time to each stage: the newest attempt, the first one thin above it, and a line at the catalogue's minutes."""
    newest = practised.timed[-1]
    rows = [(practised.timed[0], 2, 6)] if len(practised.timed) > 1 else []
    rows.append((newest, 11 if rows else 5, 14))
    parts = []
    for attempt, y, height in rows:
        before = 0.0
        for stage, seconds in sorted(attempt.stages.items(), key=lambda item: (item[1], item[0])):
            wide = 100 * max(0.0, seconds - before) / longest
            if wide:
                width = percent(max(0.3, wide - BAR_GAP_PERCENT))
                box = {"x": percent(100 * before / longest), "width": width, "rx": 2}
                bar = element("rect", **box, y=y, height=height, class_=f"stage s{stage}")
                parts.append(hover(bar, _reached(stage, seconds)))
            before = max(before, seconds)
    if practised.minutes:
        x = percent(100 * practised.minutes * 60 / longest)
        line = element("line", x1=x, x2=x, y1=0, y2=27, class_="limit")
        parts.append(hover(line, say("{minutes} minutes given", minutes=practised.minutes)))
    description = " ".join(
        say("Newest attempt: {stages}.", stages=_stages(attempt))
        if attempt is newest
        else say("First attempt: {stages}.", stages=_stages(attempt))
        for attempt in practised.timed
    )
    description += " " + say("Given: {minutes} minutes.", minutes=practised.minutes)
    return picture(say("{title}: time to each stage", title=practised.title), description, 27, *parts)


def _stages(attempt: Attempt) -> str:
    return ", ".join(_reached(stage, seconds) for stage, seconds in sorted(attempt.stages.items()))


def _reached(stage: int, seconds: float) -> str:
    return say("stage {stage} after {time}", stage=stage, time=humanize.minutes(seconds))


# -- mistakes


def tally(made: int, of: int) -> Markup:
    """A block for each attempt; as many are filled as made the mistake."""
    title = say_number("{made} of {number} attempt", "{made} of {number} attempts", of, made=made)
    made, of = (made, of) if of <= 20 else (round(20 * made / of), 20)
    blocks = [
        element("rect", x=12 * number, y=1, width=9, height=12, rx=2, class_="made" if number < made else "not-made")
        for number in range(of)
    ]
    return picture(title, say("A block for each attempt."), 14, *blocks, width=f"{12 * of}")
