"""What `kata due` and `kata history` print: lines that fit 80 columns on a terminal, unwrapped plain text in a pipe."""

from itertools import groupby

from rich.console import Console
from rich.text import Text

from dojo.core import humanize
from dojo.core.catalog import Kata
from dojo.core.outcome import sentences_of
from dojo.progress.attempts import Attempt
from dojo.progress.runs import Run
from dojo.progress.schedule import RATINGS, Due, Review

SOON_DAYS = 7
STYLES = {"Again": "red", "Hard": "yellow", "Good": "green", "Easy": "green"}
assert set(STYLES) == set(RATINGS.values())  # each rating has a style
STATES = {"solved": "green", "gave up": "red", "unfinished": "yellow"}

Cell = str | Text


def due_page(out: Console, schedule: list[Due], now: float, untried: Kata | None) -> None:
    """Prints what is due, overdue first, then the next days, and one command to run. `untried` is offered as new."""
    today = [due for due in schedule if due.is_now(now)]
    soon = [due for due in schedule if not due.is_now(now) and humanize.days_until(due.at, now) <= SOON_DAYS]
    later = [due for due in schedule if humanize.days_until(due.at, now) > SOON_DAYS]
    new = f" Something new: kata show {untried.name}" if untried else ""
    if not schedule:
        _print(out, f"Nothing to repeat yet: a kata is scheduled once you have solved it.{new}")
        return
    if today:
        out.print(f"[bold]{humanize.count(len(today), 'kata is', 'katas are')} due[/bold]\n")
        _due_table(out, today, now)
    else:
        out.print("[bold]Nothing is due today.[/bold]")
    if soon:
        out.print("\n[bold]In the next days[/bold]\n")
        _due_table(out, soon, now)
    if later:
        first = later[0]
        when = f"{humanize.day(first.at, now)} ({humanize.when_due(first.at, now)})"
        _print(out, f"\n{'And ' if soon else ''}{humanize.count(len(later), 'kata')} later, the first on {when}.")
    if today:
        _print(out, f"\nFrom memory, on a fresh stub: kata again {today[0].kata.name}")
    else:
        first = schedule[0]
        _print(out, f"\nNext: {first.kata.name}, {humanize.when_due(first.at, now)}.{new}")


def _due_table(out: Console, rows: list[Due], now: float) -> None:
    _table(
        out,
        ("kata", "due", "last time", "", "why"),
        [
            (
                due.kata.name,
                _due_when(due, now),
                humanize.day(due.last.at, now)[4:],
                Text(due.last.word, STYLES[due.last.word]),
                due.last.why,
            )
            for due in rows
        ],
    )


def _due_when(due: Due, now: float) -> Text:
    days = -humanize.days_until(due.at, now)
    return Text(f"for {humanize.count(days, 'day')}", "red") if days > 0 else Text(humanize.when_due(due.at, now))


def history_page(
    out: Console, attempts: list[Attempt], reviews: list[Review], now: float, *, limit: int | None
) -> None:
    """Prints one line for each attempt, newest first, and under it the mistakes that were named."""
    if not attempts:
        _print(out, "No attempt is recorded yet. Begin: kata list")
        return
    newest = attempts[:limit]
    rated = {(review.kata, review.at): review for review in reviews}
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for attempt in newest:
        review = rated.get((attempt.kata, attempt.judged or -1.0))
        rows.append(
            (
                f"{humanize.day(attempt.started, now)[4:]} {humanize.clock(attempt.started)}",
                attempt.kata,
                attempt.how,
                Text(_tests(attempt.best), STATES[attempt.state]),
                _stages(attempt),
                "-" if attempt.seconds is None else str(round(attempt.seconds / 60)),
                str(attempt.hints or "-"),
                Text(review.word, STYLES[review.word]) if review else "",
            )
        )
        notes.append("; ".join(diagnosis.mistake for diagnosis in attempt.diagnoses))
    _table(out, ("when", "kata", "how", "tests", "stage", "min", "hints", "rated"), rows, notes)
    rest = len(attempts) - len(newest)
    _print(out, f"\n{humanize.count(rest, 'older attempt')}: kata history --all" if rest else "")
    _print(out, "One kata with its runs: kata history NAME    As pictures: kata report")


def kata_history(
    out: Console, kata: Kata, attempts: list[Attempt], reviews: list[Review], due: Due | None, now: float
) -> None:
    """Prints every attempt at one kata, with its runs. Equal runs in a row share a line."""
    out.print(Text(kata.title, "bold"), f"[dim]{kata.level}, {kata.minutes} minutes[/dim]")
    if not attempts:
        _print(out, f"No attempt is recorded yet. Begin: kata show {kata.name}")
        return
    rated = {review.at: review for review in reviews if review.kata == kata.name}
    for number, attempt in zip(range(len(attempts), 0, -1), attempts, strict=False):
        head = Text(f"\n{number}. {humanize.day(attempt.started, now)} {humanize.clock(attempt.started)}", "bold")
        head.append(f"  {attempt.state}", STATES[attempt.state])
        facts = [attempt.how, humanize.minutes(attempt.seconds), humanize.count(attempt.hints, "hint")]
        if attempt.points is not None:
            facts.append(f"{attempt.points:.0f} of 100 points")
        head.append("  " + ", ".join(facts))
        out.print(head)
        if attempt.judged in rated:
            review = rated[attempt.judged]
            out.print(Text(f"   rated {review.word}: {review.why}", STYLES[review.word]))
        for _, group in groupby(attempt.runs, key=lambda run: (run.how, run.complete, run.stages, run.diagnoses)):
            _run_line(out, list(group))
    if due:
        _print(
            out,
            f"\n{humanize.due_sentence(due.at, now)} On a fresh stub: kata again {kata.name}",
        )


def _run_line(out: Console, runs: list[Run]) -> None:
    run = runs[0]
    until = f"-{humanize.clock(runs[-1].at)}" if len(runs) > 1 else ""
    line = Text(f"   {humanize.clock(run.at)}{until:<6}  {_tests(run):>8}  {_boxes(run):<4}")
    if len(runs) > 1:
        line.append(f"  {len(runs)} runs", "dim")
    if not run.complete:
        line.append("  chosen tests only", "dim")
    line.rstrip()
    out.print(line)
    for sentence in sentences_of(run.diagnoses):
        out.print(Text(f"      {sentence}.", "yellow"), soft_wrap=not out.is_terminal)


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
