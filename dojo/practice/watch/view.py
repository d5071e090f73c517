"""How `kata watch` looks. Takes facts, gives lines; nothing here decides or waits."""

from rich.text import Text

from dojo.core.catalog import Catalog
from dojo.core.paths import Checkout
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import rule, said
from dojo.practice.terminal import Terminal
from dojo.progress.runs import Progress
from dojo.progress.standing import MARKS, describe_progress

KEYS = {
    "n": "next",
    "h": "hint",
    "s": "solution",
    "r": "reset",
    "t": "tests",
    "l": "list",
    "d": "drill",
    "e": "edit",
    "q": "quit",
}


def header(terminal: Terminal, checkout: Checkout, watched: LiveRun, count: int, total: int) -> list[str]:
    kata, file = watched.kata, checkout.stub(watched.kata.name)
    shown = checkout.shown(file)
    title = Text.assemble((f" {kata.title}", "bold"), "  ", (shown, f"link {file.as_uri()} underline"))
    right = f"{count} of {total} katas solved "
    if title.cell_len + len(right) + 2 <= terminal.size[0]:
        title.append(" " * (terminal.size[0] - title.cell_len - len(right)) + right, "dim")
    return [*terminal.lines(title)[:1], *terminal.lines(stage_line(watched)), rule(terminal)]


def stage_line(watched: LiveRun) -> Text:
    """`■■□□  stage 3: 4 of 9`, and what is happening now."""
    stages = watched.stages()
    line = Text(" ")
    for number in range(1, len(watched.kata.stages) + 1):
        done = any(n == number and passed == tests for n, passed, tests in stages)
        line.append("■" if done else "□", "green" if done else "dim")
    reached = next(((n, passed, tests) for n, passed, tests in stages if passed < tests), None)
    if watched.verdict:
        passed, tests = watched.verdict.passed, len(watched.verdict.counted)
        line.append(f"  {passed} of {tests} tests pass")
        if reached and stages:
            line.append(f"   stage {reached[0]}: {reached[1]} of {reached[2]}", "dim")
    if watched.waiting:
        now = watched.running
        line.append(f"   running {now.done + 1} of {now.total}" if now and now.total else "   running", "yellow")
    return line


def footer(terminal: Terminal, watched: LiveRun, told: str, kind: str) -> list[str]:
    """What was said last, and the keys."""
    lines = [rule(terminal)]
    for sentence in [*watched.notes[-1:], *([told] if told else [])]:
        lines += terminal.lines(said(sentence, "yellow"))
    if not told and (watched.verdict or watched.first):
        how = "a warm child for each save" if kind == "fork" else "a cold start for each save, fork being unsafe here"
        lines += terminal.lines(Text(f" verdict in {watched.milliseconds:.0f} ms ({how})", "dim"))
    keys = Text(" ")
    for key, does in KEYS.items():
        keys.append(key, "bold").append(f" {does}  ")
    return lines + terminal.lines(keys)


def katas(terminal: Terminal, catalog: Catalog, standing: dict[str, Progress], chosen: int) -> list[str]:
    """The list, with the chosen kata marked."""
    width = max(len(kata.name) for kata in catalog.katas)
    lines: list[str] = []
    for number, kata in enumerate(catalog.katas):
        mark, style = MARKS[standing[kata.name].state]
        cursor = "▸" if number == chosen else " "
        text = f" {cursor} {mark} {kata.name:<{width}}  {kata.level:<7} {kata.minutes:>3} min  "
        line = Text(text, "bold" if number == chosen else "").append(
            describe_progress(kata, standing[kata.name]), style
        )
        line.no_wrap, line.overflow = True, "ellipsis"
        lines += terminal.lines(line)[:1]
    return lines
