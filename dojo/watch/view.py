"""How `kata watch` looks. Takes facts, gives lines; nothing here decides or waits."""

from rich.padding import Padding
from rich.text import Text

from dojo.catalog import Catalog
from dojo.history import Progress
from dojo.paths import Checkout
from dojo.screens import MARKS, where
from dojo.terminal import Terminal
from dojo.watch.state import Watched

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
VERDICTS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "error": ("!", "red"),
    "not started": ("·", "dim"),
    "skipped": ("-", "dim"),
}


def frame(terminal: Terminal, top: list[str], body: list[str], bottom: list[str], *, scroll: int = 0) -> list[str]:
    """Fills the screen: `top` and `bottom` stay, `body` is cut to what is left, from line `scroll` on."""
    rows = terminal.size[1]
    room = max(1, rows - len(top) - len(bottom))
    if len(body) > room and not body[0].strip():
        body = body[1:]  # a small window has no line to spare
    part = body[scroll : scroll + room]
    if len(body) > scroll + room > scroll + 1:
        part[-1:] = terminal.lines(Text("   ... more: arrow down, or a taller window", "dim"))[:1]
    return (top + part + [""] * (room - len(part)) + bottom)[:rows]


def header(terminal: Terminal, checkout: Checkout, watched: Watched, count: int, total: int) -> list[str]:
    kata, file = watched.kata, checkout.stub(watched.kata.name)
    shown = checkout.shown(file)
    title = Text.assemble((f" {kata.title}", "bold"), "  ", (shown, f"link {file.as_uri()} underline"))
    right = f"{count} of {total} katas solved "
    if title.cell_len + len(right) + 2 <= terminal.size[0]:
        title.append(" " * (terminal.size[0] - title.cell_len - len(right)) + right, "dim")
    return [*terminal.lines(title)[:1], *terminal.lines(stage_line(watched)), rule(terminal)]


def stage_line(watched: Watched) -> Text:
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


def rule(terminal: Terminal) -> str:
    return terminal.lines(Text("─" * terminal.size[0], "dim"))[0]


def footer(terminal: Terminal, watched: Watched, told: str, kind: str) -> list[str]:
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


def verdict(terminal: Terminal, file: str, watched: Watched, missing: bool) -> list[str]:
    """The middle of the screen: what is wrong first, then what it looks like, then what to do."""
    if missing:
        return terminal.lines("", said(f"{file} does not exist. Press r to get the stub back.", "bold red"))
    if watched.lost:
        where = f", in {watched.lost.test}" if watched.lost.test else ""
        sentence = f"The run {watched.lost.why}{where}." if watched.lost.number else f"{watched.lost.why.capitalize()}."
        after = said("Nothing else was harmed. Mend it and save: the next save runs again.")
        return terminal.lines("", said(sentence, "bold red"), "", after)
    if watched.solved and not watched.waiting:
        return solved(terminal, watched)
    failure = watched.failure
    if failure:
        first, *rest = failure.message.splitlines() or [""]
        parts: list[Padding | str] = ["", said(f"✗ {failure.test}", "bold red"), said(first, "bold", 3)]
        parts += [said(line, "cyan" if line.startswith(("hint:", "why")) else "", 3) for line in rest]
        for _, sentence in watched.named:
            parts += ["", said(f"{sentence}.", "bold yellow", 3)]
        return terminal.lines(*parts)
    if watched.unwritten:
        waiting = sum(o.verdict == "not started" for o in watched.verdict.outcomes) if watched.verdict else 0
        listed = [said(sentence, "", 3) for sentence in watched.unwritten]
        todo = said(f"{waiting} tests wait for {file}:", "yellow")
        last = said("Save the file and the tests run. e opens your editor, h gives a hint.", "dim")
        return terminal.lines("", said(watched.kata.question, "bold"), "", todo, *listed, "", last)
    if watched.verdict and not watched.waiting:
        return terminal.lines("", said(f"No test ran. Look at it with: kata test {watched.kata.name}", "red"))
    now = "Running the tests ..." if watched.running else "Starting: torch takes some seconds the first time ..."
    return terminal.lines("", said(now, "dim"))


def said(text: str, style: str = "", left: int = 1) -> Padding:
    """A paragraph that keeps its distance from the edges however it is wrapped."""
    text = text.replace("\x1b", "\N{SYMBOL FOR ESCAPE}")  # what a kata puts into a message moves no cursor
    return Padding(Text(text, style), (0, 1, 0, left), expand=False)


def solved(terminal: Terminal, watched: Watched) -> list[str]:
    skipped = len(watched.verdict.outcomes) - len(watched.verdict.counted) if watched.verdict else 0
    parts: list[Padding | str] = ["", said("Solved: every test passes.", "bold green")]
    if skipped:
        parts.append(said(f"{skipped} tests need a GPU and were skipped.", "dim"))
    parts += ["", said("s  compare with the reference, and see what an interviewer asks next")]
    parts += [said("n  the next kata"), said("d  do it again against the clock")]
    return terminal.lines(*parts)


def tests(terminal: Terminal, watched: Watched) -> list[str]:
    """Every test, by stage."""
    lines: list[str] = []
    outcomes = watched.verdict.outcomes if watched.verdict else ()
    for stage in sorted({o.stage for o in outcomes}):
        text = watched.kata.stages[stage - 1] if 0 < stage <= len(watched.kata.stages) else ""
        lines += terminal.lines("", Text(f" stage {stage}  {text}", "bold"))
        for outcome in outcomes:
            if outcome.stage == stage:
                mark, style = VERDICTS[outcome.verdict]
                lines += terminal.lines(Text(f"  {mark} {outcome.test}", style, no_wrap=True, overflow="ellipsis"))[:1]
    return lines or terminal.lines("", Text(" No test has run yet.", "dim"))


def katas(terminal: Terminal, catalog: Catalog, standing: dict[str, Progress], chosen: int) -> list[str]:
    """The list, with the chosen kata marked."""
    width = max(len(kata.name) for kata in catalog.katas)
    lines: list[str] = []
    for number, kata in enumerate(catalog.katas):
        mark, style = MARKS[standing[kata.name].state]
        cursor = "▸" if number == chosen else " "
        text = f" {cursor} {mark} {kata.name:<{width}}  {kata.level:<7} {kata.minutes:>3} min  "
        line = Text(text, "bold" if number == chosen else "").append(where(kata, standing[kata.name]), style)
        line.no_wrap, line.overflow = True, "ellipsis"
        lines += terminal.lines(line)[:1]
    return lines


def page(terminal: Terminal, title: str, text: str) -> list[str]:
    """A text to read: a hint, the solution, the follow-up questions."""
    return terminal.lines("", said(title, "bold"), "", *(said(line) for line in text.splitlines()))
