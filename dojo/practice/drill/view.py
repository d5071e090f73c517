"""How a drill looks. Takes facts, gives lines."""

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dojo.core.catalog import Kata
from dojo.core.humanize import count
from dojo.practice.drill.score import HINT, WEIGHTS, Summary, clock_text
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import rule, said
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Session

KEYS = {
    "work": {"h": "hint", "p": "pause", "t": "tests", "e": "edit", "f": "finish", "q": "leave"},
    "paused": {"p": "go on", "q": "leave"},
    "grading": {},
    "asking": {"Enter": "the model answer", "q": "leave"},
    "answered": {"1": "missed it", "2": "partly", "3": "had it", "q": "leave"},
    "done": {"q": "close"},
}


def keys(phase: str, hint_cost: int, mock: bool) -> dict[str, str]:
    """What each key does now."""
    if phase == "work":
        return {**KEYS["work"], "h": f"hint (-{hint_cost})"}
    if phase == "done" and mock:
        return {"Enter": "go on with the round", "q": "leave"}
    return KEYS[phase]


def header(terminal: Terminal, session: Session, kata: Kata, shown: str, phase: str, part: str) -> list[str]:
    clock = clock_text(session.left)
    style = "bold red" if session.left < 60 else "bold yellow" if session.left < 0.2 * session.minutes * 60 else "bold"
    right = Text("paused " if phase == "paused" else "").append(f"{clock} left ", style)
    if phase not in ("work", "paused"):
        right = Text("time is up " if not session.left else f"done in {clock_text(session.elapsed)} ", "dim")
    title = Text(f" {part}{kata.title}", "bold")
    title.append(" " * max(1, terminal.size[0] - title.cell_len - right.cell_len)).append_text(right)
    file = Text.assemble((" write in ", "dim"), (shown, f"link {session.file.as_uri()} underline"))
    return [*terminal.lines(title)[:1], *(terminal.lines(file) if phase == "work" else []), rule(terminal)]


def question(terminal: Terminal, kata: Kata, stage: int, watched: LiveRun) -> list[str]:
    """What the interviewer asks now: the kata's question, then one stage after another."""
    line = Text(" ")
    for number in range(1, len(kata.stages) + 1):
        line.append("■" if number < stage else "□", "green" if number < stage else "dim")
    line.append(f"  stage {stage}", "bold")
    if watched.verdict:
        line.append(f"   {watched.verdict.passed} of {len(watched.verdict.counted)} tests so far pass")
    if watched.waiting:
        line.append("   running", "yellow")
    asked = [said(kata.question, "bold")] if stage == 1 else [said("Good. And now:", "green")]
    return terminal.lines(*asked, said(kata.stages[stage - 1], "cyan"), line)


def footer(terminal: Terminal, keys: dict[str, str], told: str) -> list[str]:
    line = Text(" ")
    for key, does in keys.items():
        line.append(key, "bold").append(f" {does}  ")
    told_lines = terminal.lines(said(told, "yellow")) if told else []
    return [rule(terminal), *told_lines, *terminal.lines(line)]


def summary(terminal: Terminal, found: Summary, advice: list[str]) -> list[str]:
    """The page at the end, also printed when the drill has left the screen."""
    session = found.session
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("stage", "tests", "points", "first passed", ""):
        table.add_column(column, justify="right" if column in ("tests", "points") else "left")
    whole = sum(WEIGHTS[r.stage] for r in found.stages) or 1
    for r in found.stages:
        all_pass = r.share == 1
        asked = Text(found.kata.stages[r.stage - 1] if r.stage <= len(found.kata.stages) else "", "dim")
        asked.truncate(max(10, terminal.size[0] - 40), overflow="ellipsis")  # so that the page fits into 24 lines
        table.add_row(
            Text(f"{'■' if all_pass else '□'} {r.stage}", "green" if all_pass else "dim"),
            f"{r.passed}/{r.tests}" if r.tests else "-",
            f"{100 * WEIGHTS[r.stage] * r.share / whole:.0f}",
            clock_text(r.at) if r.at is not None else "-",
            asked,
        )
    facts = (
        f"{clock_text(session.elapsed)} of {clock_text(session.minutes * 60)}, {count(found.runs, 'run')}, "
        f"{count(found.hints, 'hint')}"
    )
    if found.hints:
        facts += f" (-{HINT * found.hints} points)"
    if found.pauses >= 1:
        facts += f", paused for {clock_text(found.pauses)}"
    if found.ratings:
        facts += f", follow-ups {sum(found.ratings)} of {3 * len(found.ratings)}"
    head = Text.assemble((f" {found.kata.title}: ", "bold"), (f"{session.points:g} points", "bold green"))
    return terminal.lines(
        "", head, said(facts, "dim"), "", Padding(table, (0, 1)), "", *(said(sentence) for sentence in advice)
    )
