"""TODO: one line."""

from rich.padding import Padding
from rich.text import Text

from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import Terminal

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


def rule(terminal: Terminal) -> str:
    return terminal.lines(Text("─" * terminal.size[0], "dim"))[0]


def verdict(terminal: Terminal, file: str, watched: LiveRun, missing: bool) -> list[str]:
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
        for diagnosis in watched.diagnoses:
            parts += ["", said(f"{diagnosis.sentence}.", "bold yellow", 3)]
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


def solved(terminal: Terminal, watched: LiveRun) -> list[str]:
    skipped = len(watched.verdict.outcomes) - len(watched.verdict.counted) if watched.verdict else 0
    parts: list[Padding | str] = ["", said("Solved: every test passes.", "bold green")]
    if skipped:
        parts.append(said(f"{skipped} tests need a GPU and were skipped.", "dim"))
    parts += ["", said("s  compare with the reference, and see what an interviewer asks next")]
    parts += [said("n  the next kata"), said("d  do it again against the clock")]
    return terminal.lines(*parts)


def tests(terminal: Terminal, watched: LiveRun) -> list[str]:
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


def page(terminal: Terminal, title: str, text: str) -> list[str]:
    """A text to read: a hint, the solution, the follow-up questions."""
    return terminal.lines("", said(title, "bold"), "", *(said(line) for line in text.splitlines()))
