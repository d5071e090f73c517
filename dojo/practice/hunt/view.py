"""How a hunt looks where it differs from a drill: its lines, from the state of the session."""

from rich.padding import Padding

from dojo.core.catalog import Kata
from dojo.core.language import say, say_number, to_say
from dojo.practice.drill.clock import clock_text
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import paragraph
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import HuntState, PlantedBug
from dojo.progress.sessions import Session

AT_MODULE_LEVEL = to_say("at module level")  # in the place of the function that holds a bug


def place(bug: PlantedBug) -> str:
    """Where a bug is: the name of what holds it, or that nothing does."""
    return say(AT_MODULE_LEVEL) if bug.where == AT_MODULE_LEVEL else bug.where


def task(hunt: HuntState) -> str:
    return say_number(
        "One bug is planted. Some lines of this working implementation are wrong now. Make every test pass, and change "
        "nothing without need.",
        "{number} bugs are planted. Some lines of this working implementation are wrong now. Make every test pass, and "
        "change nothing without need.",
        len(hunt.bugs),
    )


def question(terminal: Terminal, hunt: HuntState, live_run: LiveRun) -> list[str]:
    """The task, and how many tests fail."""
    state = say("running")
    if live_run.verdict:
        failing = len(live_run.verdict.counted) - live_run.verdict.passed
        state = say_number("{number} test fails", "{number} tests fail", failing)
        state = say("{failing}, running", failing=state) if live_run.waiting else state
    return terminal.lines(paragraph(task(hunt), "bold"), paragraph(state, "yellow"))


def facts(session: Session, hunt: HuntState) -> str:
    """`1 of 2 bugs mended in 4:10 of 15:00, 0 lines changed without need, 1 hint, seed 7`."""
    mended = sum(bool(bug.mended) for bug in hunt.bugs)
    return say(
        "{mended} of {total} bugs mended in {elapsed} of {limit}, {lines} changed without need, {hints}, seed {seed}",
        mended=mended,
        total=len(hunt.bugs),
        elapsed=clock_text(session.elapsed),
        limit=clock_text(session.minutes * 60),
        lines=say_number("{number} line", "{number} lines", hunt.extra_lines),
        hints=say_number("{number} hint", "{number} hints", session.state.hints_paid),
        seed=hunt.seed,
    )


def last_page(terminal: Terminal, kata: Kata, session: Session, hunt: HuntState) -> list[str]:
    """Points, facts, every bug with its name, and the command for another hunt."""
    points = say("Bug hunt, {title}: {points:g} points", title=kata.title, points=session.points)
    head = paragraph(points, "bold green")
    parts: list[Padding | str] = ["", head, paragraph(facts(session, hunt), "dim"), ""]
    if trouble := session.state.trouble:
        parts += [paragraph(say("{trouble}: so no bug counts as mended.", trouble=trouble)), ""]
    for bug in hunt.bugs:
        mark = "✓" if bug.mended else "✗"
        parts.append(paragraph(say("{mark} {where}: {name}", mark=mark, where=place(bug), name=bug.name), "bold"))
        parts.append(paragraph(say("{says}. Caught by {test}.", says=bug.says, test=bug.test), "", 3))
    again = say("Again with other bugs: kata hunt {name} --bugs {bugs}", name=kata.name, bugs=len(hunt.bugs))
    return terminal.lines(*parts, "", paragraph(again))
