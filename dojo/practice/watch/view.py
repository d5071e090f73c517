"""How `kata watch` looks: facts in, lines out."""

from rich.cells import set_cell_size
from rich.text import Text

from dojo.core.catalog import Catalog
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.practice import screen
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import rule, title_line
from dojo.practice.terminal import Terminal
from dojo.progress.runs import Progress
from dojo.progress.standing import MARKS, describe_progress

KEYS = {
    "n": to_say("next"),
    "h": to_say("hint"),
    "s": to_say("solution"),
    "r": to_say("reset"),
    "t": to_say("tests"),
    "l": to_say("list"),
    "d": to_say("drill"),
    "e": to_say("edit"),
    "q": to_say("quit"),
}


def header(terminal: Terminal, checkout: Checkout, live_run: LiveRun, solved: int, total: int) -> list[str]:
    """Title, file, katas solved, and the line of stages."""
    kata, file = live_run.kata, checkout.answer(live_run.kata.name)
    title = Text.assemble((f" {kata.title}", "bold"), "  ", (checkout.shown(file), f"link {file.as_uri()} underline"))
    right = Text(say("{solved} of {total} katas solved ", solved=solved, total=total), "dim")
    if title.cell_len + right.cell_len + 2 > terminal.size[0]:
        right = Text()
    return [*title_line(terminal, title, right), *terminal.lines(stage_line(live_run)), rule(terminal)]


def stage_line(live_run: LiveRun) -> Text:
    """`■■□□  4 of 9 tests pass   stage 3: 0 of 2`, and the test that is running."""
    stages = live_run.stages()
    line = Text(" ")
    for number in range(1, len(live_run.kata.stages) + 1):
        passes = any(n == number and passed == tests for n, passed, tests in stages)
        line.append("■" if passes else "□", "green" if passes else "dim")
    unfinished = next(((n, passed, tests) for n, passed, tests in stages if passed < tests), None)
    if live_run.verdict:
        verdict = live_run.verdict
        line.append(say("  {passed} of {total} tests pass", passed=verdict.passed, total=len(verdict.counted)))
    if live_run.verdict and unfinished:
        number, passed, tests = unfinished
        line.append(say("   stage {stage}: {passed} of {total}", stage=number, passed=passed, total=tests), "dim")
    if live_run.waiting:
        now = live_run.running
        counted = (
            say("   running {number} of {total}", number=now.done + 1, total=now.total) if now and now.total else ""
        )
        line.append(counted or say("   running"), "yellow")
    return line


def footer(terminal: Terminal, live_run: LiveRun, sentences: list[str], start_method: str) -> list[str]:
    """What to heed (else how long the verdict took), and the keys."""
    status = None
    if not sentences and (live_run.verdict or live_run.first_failure):
        before = say("torch was loaded before")
        how = before if start_method == "fork" else say("torch is loaded for each save, fork being unsafe here")
        status = Text(say(" verdict in {number:.0f} ms ({how})", number=live_run.milliseconds, how=how), "dim")
    return screen.footer(terminal, {key: say(action) for key, action in KEYS.items()}, sentences, status)


def katas(terminal: Terminal, catalog: Catalog, standing: dict[str, Progress]) -> list[str]:
    """The list of katas, to choose from."""
    width = max(len(kata.name) for kata in catalog.katas)
    lines: list[str] = []
    for kata in catalog.katas:
        mark, style = MARKS[standing[kata.name].state]
        minutes = say("{minutes:>3} min", minutes=kata.minutes)
        text = f"{mark} {kata.name:<{width}}  {set_cell_size(say(kata.level), 7)} {minutes}  "
        lines.append(screen.entry(terminal, Text(text).append(describe_progress(kata, standing[kata.name]), style)))
    return lines
