"""What `kata due` and `kata history` print: lines that fit 80 columns on a terminal, unwrapped plain text in a pipe."""

from itertools import groupby

from rich.console import Console
from rich.text import Text

from dojo.core import humanize
from dojo.core.catalog import Kata
from dojo.core.language import say, say_number, to_say
from dojo.core.outcome import full_stop, sentences_of
from dojo.progress.attempts import Attempt
from dojo.progress.runs import Run
from dojo.progress.schedule import RATINGS, Due, Review

SOON_DAYS = 7
STYLES = {"Again": "red", "Hard": "yellow", "Good": "green", "Easy": "green"}
assert set(STYLES) == set(RATINGS.values())  # each rating has a style
STATES = {to_say("solved"): "green", to_say("gave up"): "red", to_say("unfinished"): "yellow"}

Cell = str | Text


def due_page(out: Console, schedule: list[Due], now: float, untried: Kata | None) -> None:
    """Prints what is due, overdue first, then the next days, and one command to run. `untried` is offered as new."""
    today = [due for due in schedule if due.is_now(now)]
    soon = [due for due in schedule if not due.is_now(now) and humanize.days_until(due.at, now) <= SOON_DAYS]
    later = [due for due in schedule if humanize.days_until(due.at, now) > SOON_DAYS]
    new = say(" Something new: kata show {name}", name=untried.name) if untried else ""
    if not schedule:
        _print(out, say("Nothing to repeat yet: a kata is scheduled once you have solved it.") + new)
        return
    if today:
        out.print(
            say_number("[bold]{number} kata is due[/bold]\n", "[bold]{number} katas are due[/bold]\n", len(today))
        )
        _due_table(out, today, now)
    else:
        out.print(say("[bold]Nothing is due today.[/bold]"))
    if soon:
        out.print(say("\n[bold]In the next days[/bold]\n"))
        _due_table(out, soon, now)
    if later:
        first = later[0]
        when = f"{humanize.day(first.at, now)} ({humanize.when_due(first.at, now)})"
        rest = say_number(
            "{number} kata later, the first on {when}.",
            "{number} katas later, the first on {when}.",
            len(later),
            when=when,
        )
        _print(out, say("\nAnd {rest}", rest=rest) if soon else f"\n{rest}")
    if today:
        _print(out, say("\nFrom memory, on a fresh stub: kata again {name}", name=today[0].kata.name))
    else:
        first = schedule[0]
        _print(out, say("\nNext: {name}, {when}.", name=first.kata.name, when=humanize.when_due(first.at, now)) + new)


def _due_table(out: Console, rows: list[Due], now: float) -> None:
    _table(
        out,
        (say("kata"), say("due"), say("last time"), "", say("why")),
        [
            (
                due.kata.name,
                _due_when(due, now),
                _date(due.last.at, now),
                Text(say(due.last.word), STYLES[due.last.word]),
                due.last.why,
            )
            for due in rows
        ],
    )


def _date(at: float, now: float) -> str:
    return humanize.short_date(humanize.local(at).date(), humanize.local(now).date())


def _due_when(due: Due, now: float) -> Text:
    days = -humanize.days_until(due.at, now)
    if days > 0:
        return Text(say_number("for {number} day", "for {number} days", days), "red")
    return Text(humanize.when_due(due.at, now))


def history_page(
    out: Console, attempts: list[Attempt], reviews: list[Review], now: float, *, limit: int | None
) -> None:
    """Prints one line for each attempt, newest first, and under it the mistakes that were named."""
    if not attempts:
        _print(out, say("No attempt is recorded yet. Begin: kata list"))
        return
    newest = attempts[:limit]
    rated = {(review.kata, review.at): review for review in reviews}
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for attempt in newest:
        review = rated.get((attempt.kata, attempt.judged or -1.0))
        rows.append(
            (
                f"{_date(attempt.started, now)} {humanize.clock(attempt.started)}",
                attempt.kata,
                attempt.how,
                Text(_tests(attempt.best), STATES[attempt.state]),
                _stages(attempt),
                "-" if attempt.seconds is None else str(round(attempt.seconds / 60)),
                str(attempt.hints or "-"),
                Text(say(review.word), STYLES[review.word]) if review else "",
            )
        )
        notes.append("; ".join(diagnosis.mistake for diagnosis in attempt.diagnoses))
    _table(
        out,
        (say("when"), say("kata"), say("how"), say("tests"), say("stage"), say("min"), say("hints"), say("rated")),
        rows,
        notes,
    )
    rest = len(attempts) - len(newest)
    _print(
        out,
        say_number(
            "\n{number} older attempt: kata history --all", "\n{number} older attempts: kata history --all", rest
        )
        if rest
        else "",
    )
    _print(out, say("One kata with its runs: kata history NAME    As pictures: kata report"))


def kata_history(
    out: Console, kata: Kata, attempts: list[Attempt], reviews: list[Review], due: Due | None, now: float
) -> None:
    """Prints every attempt at one kata, with its runs. Equal runs in a row share a line."""
    out.print(
        Text(kata.title, "bold"),
        say("[dim]{level}, {minutes} minutes[/dim]", level=say(kata.level), minutes=kata.minutes),
    )
    if not attempts:
        _print(out, say("No attempt is recorded yet. Begin: kata show {name}", name=kata.name))
        return
    rated = {review.at: review for review in reviews if review.kata == kata.name}
    for number, attempt in zip(range(len(attempts), 0, -1), attempts, strict=False):
        head = Text(f"\n{number}. {humanize.day(attempt.started, now)} {humanize.clock(attempt.started)}", "bold")
        head.append(f"  {say(attempt.state)}", STATES[attempt.state])
        hints = say_number("{number} hint", "{number} hints", attempt.hints)
        facts = [attempt.how, humanize.minutes(attempt.seconds), hints]
        if attempt.points is not None:
            facts.append(say("{points:.0f} of 100 points", points=attempt.points))
        head.append("  " + ", ".join(facts))
        out.print(head)
        if attempt.judged in rated:
            review = rated[attempt.judged]
            out.print(Text(say("   rated {word}: {why}", word=say(review.word), why=review.why), STYLES[review.word]))
        for _, group in groupby(attempt.runs, key=lambda run: (run.how, run.complete, run.stages, run.diagnoses)):
            _run_line(out, list(group))
    if due:
        _print(
            out,
            say("\n{when} On a fresh stub: kata again {name}", when=humanize.due_sentence(due.at, now), name=kata.name),
        )


def _run_line(out: Console, runs: list[Run]) -> None:
    run = runs[0]
    until = f"-{humanize.clock(runs[-1].at)}" if len(runs) > 1 else ""
    line = Text(f"   {humanize.clock(run.at)}{until:<6}  {_tests(run):>8}  {_boxes(run):<4}")
    if len(runs) > 1:
        line.append(say("  {runs} runs", runs=len(runs)), "dim")
    if not run.complete:
        line.append(say("  chosen tests only"), "dim")
    line.rstrip()
    out.print(line)
    for sentence in sentences_of(run.diagnoses):
        out.print(Text(f"      {full_stop(sentence)}", "yellow"), soft_wrap=not out.is_terminal)


def _tests(run: Run | None) -> str:
    return f"{run.passed}/{run.total}" if run else "-"


def _boxes(run: Run) -> str:
    return "".join("■" if passed == total else "□" for stage, (passed, total) in sorted(run.stages.items()) if stage)


def _stages(attempt: Attempt) -> str:
    stages = sorted({stage for run in attempt.runs for stage in run.stages if stage})
    return "".join("■" if stage in attempt.stages else "□" for stage in stages)


def _print(out: Console, sentence: str) -> None:
    if sentence:
        out.print(sentence, markup=False, soft_wrap=not out.is_terminal)


def _table(out: Console, header: tuple[str, ...], rows: list[tuple[Cell, ...]], notes: list[str] | None = None) -> None:
    """Prints columns as wide as their widest cell, and below a row its note. The last column and notes may wrap."""
    texts = [tuple(Text(name, "dim") for name in header)]
    texts += [tuple(cell if isinstance(cell, Text) else Text(cell) for cell in row) for row in rows]
    widths = [max(row[column].cell_len for row in texts) for column in range(len(header))]
    for row, note in zip(texts, ["", *(notes or [""] * len(rows))], strict=True):
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (width - cell.cell_len + 2))
        line.rstrip()
        out.print(line, soft_wrap=not out.is_terminal)
        if note:
            out.print(Text(f"  {note}", "yellow"), soft_wrap=not out.is_terminal)
