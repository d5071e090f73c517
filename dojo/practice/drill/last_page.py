"""The page at the end of a drill. It is also printed after the drill has left the screen."""

from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dojo.core import clock, humanize
from dojo.core.catalog import Kata, load_catalog
from dojo.core.language import say, say_number
from dojo.core.paths import Checkout
from dojo.practice import screen
from dojo.practice.drill.clock import clock_text
from dojo.practice.drill.grading import HINT_POINTS, graded_stages, stage_points
from dojo.practice.screen import paragraph
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import StageResult
from dojo.progress.sessions import Session, SessionLog


@dataclass(frozen=True)
class Summary:
    """The facts on the page."""

    session: Session
    kata: Kata
    stages: list[StageResult]
    runs: int
    mistakes: dict[str, str]  # name -> sentence, in the order in which they were made
    earlier: list[Session]  # finished drills of the same kata


def summarise(session: Session, kata: Kata, log: SessionLog) -> Summary:
    mistakes = log.mistakes(session)
    for name, sentence in session.state.mistakes:
        mistakes.setdefault(name, sentence)
    return Summary(
        session,
        kata,
        graded_stages(session, kata),
        max(log.count_runs(session), session.state.runs),
        mistakes,
        log.earlier_drills(session),
    )


def page(terminal: Terminal, checkout: Checkout, summary: Summary) -> list[str]:
    """The page: points, facts, a row for each stage, and what to do next."""
    session = summary.session
    points = say("{points:g} points", points=session.points)
    head = Text.assemble((say(" {title}: ", title=summary.kata.title), "bold"), (points, "bold green"))
    command = f"kata solution {summary.kata.name}{'' if session.state.solved else ' --give-up'}"
    kept = say(
        "Your attempt is kept in {file}. The reference: {command}",
        file=checkout.shown(session.attempt),
        command=command,
    )
    advice = [*sentences(summary), *filter(None, [session.state.repeat_advice]), kept]
    return terminal.lines(
        "",
        head,
        paragraph(facts(summary), "dim"),
        "",
        Padding(stage_table(summary, terminal.size[0]), (0, 1)),
        "",
        *(paragraph(sentence) for sentence in advice),
        *failures(session),
    )


def failures(session: Session) -> list[RenderableType]:
    """What failed in the final run, with all that was kept back during the drill."""
    state = session.state
    parts: list[RenderableType] = []
    for failure in state.failures:
        parts += ["", paragraph(f"✗ {failure.test}", "bold red"), *screen.failure(failure.message)]
    if rest := state.failed - len(state.failures):
        more = say_number("{number} more test fails.", "{number} more tests fail.", rest)
        parts += ["", paragraph(more, "dim")]
    return parts


def facts(summary: Summary) -> str:
    """`2:00 of 5:00, 3 runs, 1 hint (-5 points)`, pauses, and the follow-up questions."""
    session, state = summary.session, summary.session.state
    text = say(
        "{elapsed} of {limit}, {runs}, {hints}",
        elapsed=clock_text(session.elapsed),
        limit=clock_text(session.minutes * 60),
        runs=say_number("{number} run", "{number} runs", summary.runs),
        hints=say_number("{number} hint", "{number} hints", state.hints_paid),
    )
    if state.hints_paid:
        text += say(" (-{points} points)", points=HINT_POINTS * state.hints_paid)
    if state.paused_s >= 1:
        text += say(", paused for {time}", time=clock_text(state.paused_s))
    if state.ratings:
        text += say(", follow-ups {points} of {possible}", points=sum(state.ratings), possible=3 * len(state.ratings))
    return text


def stage_table(summary: Summary, width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    heads = {"stage": say("stage"), "tests": say("tests"), "points": say("points"), "": say("first passed")}
    for column, head in heads.items():
        table.add_column(head, justify="right" if column in ("tests", "points") else "left")
    table.add_column("")
    stages = summary.kata.stages
    for result, points in zip(summary.stages, stage_points(summary.stages), strict=True):
        all_pass = result.share == 1
        topic = Text(stages[result.stage - 1] if result.stage <= len(stages) else "", "dim")
        topic.truncate(max(10, width - 40), overflow="ellipsis")  # so that the page fits into 24 lines
        table.add_row(
            Text(f"{'■' if all_pass else '□'} {result.stage}", "green" if all_pass else "dim"),
            f"{result.passed}/{result.tests}" if result.tests else "-",
            f"{points:.0f}",
            clock_text(result.first_passed) if result.first_passed is not None else "-",
            topic,
        )
    return table


def sentences(summary: Summary) -> list[str]:
    """What to learn from the drill, most important first."""
    session, kata = summary.session, summary.kata
    lines = []
    if trouble := session.state.trouble:
        lines.append(say("{trouble}: what it did not reach gives no points.", trouble=trouble))
    incomplete = [result for result in summary.stages if result.share < 1]
    if not incomplete:
        lines.append(say("All stages stand after {time}.", time=clock_text(session.elapsed)))
    else:
        first = incomplete[0]
        topic = kata.stages[first.stage - 1] if first.stage <= len(kata.stages) else ""
        at = {"stage": first.stage, "topic": topic, "passed": first.passed, "total": first.tests}
        if first.tests:
            lines.append(say("Repeat from stage {stage} ({topic}): {passed} of {total} tests pass.", **at))
        else:
            lines.append(say("Repeat from stage {stage} ({topic}): it could not be graded.", **at))
    for number, (name, sentence) in enumerate(summary.mistakes.items()):
        if number:
            lines.append(say("Then: {name}. {sentence}.", name=name, sentence=sentence))
        else:
            lines.append(say("The first mistake: {name}. {sentence}.", name=name, sentence=sentence))
    earlier_points = [drill.points for drill in summary.earlier if drill.points is not None]
    if not earlier_points:
        return [*lines, say("Your first drill of this kata.")]
    return [*lines, _compared(session.points or 0.0, earlier_points)]


def _compared(points: float, earlier: list[float]) -> str:
    values = {"points": points, "last": earlier[-1], "drills": len(earlier), "best": max(earlier)}
    if points > earlier[-1]:
        return say(
            "{points:g} points, better than last time ({last:g}); your best of {drills} earlier drills is {best:g}.",
            **values,
        )
    if points == earlier[-1]:
        return say(
            "{points:g} points, as good as last time ({last:g}); your best of {drills} earlier drills is {best:g}.",
            **values,
        )
    return say(
        "{points:g} points, below last time ({last:g}); your best of {drills} earlier drills is {best:g}.", **values
    )


def repeat_advice(checkout: Checkout, session: Session) -> str:
    """When to solve the kata again; empty for a hunt, or if it cannot be computed: the page comes without it."""
    if session.kind != "drill" or not session.id:
        return ""
    try:
        from dojo.progress.schedule import due_dates

        due = next(item for item in due_dates(checkout, load_catalog(checkout)) if item.kata.name == session.kata)
    except Exception:
        return ""
    now = clock.now()
    return say(
        "Rated {word}. To solve again {when}, {day}: kata due",
        word=say(due.last.word),
        when=humanize.when_due(due.at, now),
        day=humanize.day(due.at, now),
    )
