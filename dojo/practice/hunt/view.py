"""How a hunt looks where it differs from a drill: its lines, from the state of the session."""

from rich.padding import Padding

from dojo.core.catalog import Kata
from dojo.core.humanize import count
from dojo.practice.drill.clock import clock_text
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import paragraph
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import HuntState
from dojo.progress.sessions import Session

TASK = "Some lines of this working implementation are wrong now. Make every test pass, and change nothing without need."


def task(hunt: HuntState) -> str:
    number = len(hunt.bugs)
    return f"{'One bug is' if number == 1 else f'{number} bugs are'} planted. {TASK}"


def question(terminal: Terminal, hunt: HuntState, live_run: LiveRun) -> list[str]:
    """The task, and how many tests fail."""
    state = "running"
    if live_run.verdict:
        failing = len(live_run.verdict.counted) - live_run.verdict.passed
        state = f"{count(failing, 'test fails', 'tests fail')}" + (", running" if live_run.waiting else "")
    return terminal.lines(paragraph(task(hunt), "bold"), paragraph(state, "yellow"))


def facts(session: Session, hunt: HuntState) -> str:
    """`1 of 2 bugs mended in 4:10 of 15:00, 0 lines changed without need, 1 hint, seed 7`."""
    mended = sum(bool(bug.mended) for bug in hunt.bugs)
    return (
        f"{mended} of {len(hunt.bugs)} bugs mended in {clock_text(session.elapsed)} of "
        f"{clock_text(session.minutes * 60)}, {count(hunt.extra_lines, 'line')} changed without need, "
        f"{count(session.state.hints_paid, 'hint')}, seed {hunt.seed}"
    )


def last_page(terminal: Terminal, kata: Kata, session: Session, hunt: HuntState) -> list[str]:
    """Points, facts, every bug with its name, and the command for another hunt."""
    head = paragraph(f"Bug hunt, {kata.title}: {session.points:g} points", "bold green")
    parts: list[Padding | str] = ["", head, paragraph(facts(session, hunt), "dim"), ""]
    if trouble := session.state.trouble:
        parts += [paragraph(f"{trouble}: so no bug counts as mended."), ""]
    for bug in hunt.bugs:
        parts.append(paragraph(f"{'✓' if bug.mended else '✗'} {bug.where}: {bug.name}", "bold"))
        parts.append(paragraph(f"{bug.says}. Caught by {bug.test}.", "", 3))
    again = f"Again with other bugs: kata hunt {kata.name} --bugs {len(hunt.bugs)}"
    return terminal.lines(*parts, "", paragraph(again))
