"""The parts of a screen that watch, drill and hunt have in common. Every function returns lines for `Terminal.draw`."""

from collections.abc import Mapping, Sequence

from rich.padding import Padding
from rich.text import Text

from dojo.core.outcome import COMPARING
from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import Terminal

VERDICT_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "error": ("!", "red"),
    "not started": ("·", "dim"),
    "skipped": ("-", "dim"),
}


def frame(terminal: Terminal, top: list[str], body: list[str], bottom: list[str], *, scroll: int = 0) -> list[str]:
    """The whole screen: `top`, as much of `body` as there is room for, from line `scroll` on, and `bottom`."""
    rows = terminal.size[1]
    room = max(1, rows - len(top) - len(bottom))
    if len(body) > room and not body[0].strip():
        body = body[1:]  # a small window has no line to spare
    visible = body[scroll : scroll + room]
    if len(body) > scroll + room > scroll + 1:
        visible[-1:] = terminal.lines(Text("   ... more: arrow down, or a taller window", "dim"))[:1]
    return (top + visible + [""] * (room - len(visible)) + bottom)[:rows]


def rule(terminal: Terminal) -> str:
    """A horizontal line."""
    return terminal.lines(Text("─" * terminal.size[0], "dim"))[0]


def paragraph(text: str, style: str = "", left: int = 1) -> Padding:
    """A paragraph with a margin left and right, however it is wrapped."""
    text = text.replace("\x1b", "\N{SYMBOL FOR ESCAPE}")  # a kata's message must not move the cursor
    return Padding(Text(text, style), (0, 1, 0, left), expand=False)


def title_line(terminal: Terminal, left: Text, right: Text) -> list[str]:
    """One line with `left` at its beginning and `right` at its end."""
    left.append(" " * max(1, terminal.size[0] - left.cell_len - right.cell_len)).append_text(right)
    return terminal.lines(left)[:1]


def footer(
    terminal: Terminal, keys: Mapping[str, str], sentences: Sequence[str], status: Text | None = None
) -> list[str]:
    """The sentences to heed, then `status`, then what each key does."""
    lines = [rule(terminal)]
    for sentence in sentences:
        lines += terminal.lines(paragraph(sentence, "yellow"))
    if status:
        lines += terminal.lines(status)
    line = Text(" ")
    for key, action in keys.items():
        line.append(key, "bold").append(f" {action}  ")
    return lines + terminal.lines(line)


def verdict(terminal: Terminal, file: str, live_run: LiveRun, missing: bool) -> list[str]:
    """The middle of the screen: the failure to mend, the tests that wait for code, or what is going on.

    `missing` says that the file does not exist.
    """
    if missing:
        return terminal.lines("", paragraph(f"{file} does not exist. Press r to get the stub back.", "bold red"))
    if live_run.died:
        died = live_run.died
        where = f", in {died.test}" if died.test else ""
        sentence = f"The run {died.why}{where}." if died.number else f"{died.why.capitalize()}."
        advice = paragraph("Nothing else was harmed. Mend it and save: the next save runs again.")
        return terminal.lines("", paragraph(sentence, "bold red"), "", advice)
    if live_run.solved and not live_run.waiting:
        return solved(terminal, live_run)
    failure = live_run.failure
    if failure:
        first, *rest = failure.message.splitlines() or [""]
        parts: list[Padding | str] = ["", paragraph(f"✗ {failure.test}", "bold red"), paragraph(first, "bold", 3)]
        parts += [paragraph(line, "cyan" if line.startswith(("hint:", "why")) else "", 3) for line in rest]
        for diagnosis in live_run.diagnoses:
            parts += ["", paragraph(f"{diagnosis.sentence}.", "bold yellow", 3)]
        if live_run.comparing:
            parts += ["", paragraph(COMPARING.format(live_run.comparing), "dim", 3)]
        return terminal.lines(*parts)
    if live_run.unwritten:
        return unwritten(terminal, file, live_run)
    if live_run.verdict and not live_run.waiting:
        return terminal.lines("", paragraph(f"No test ran. Look at it with: kata test {live_run.kata.name}", "red"))
    now = "Running the tests ..." if live_run.running else "Starting: torch takes some seconds the first time ..."
    return terminal.lines("", paragraph(now, "dim"))


def unwritten(terminal: Terminal, file: str, live_run: LiveRun) -> list[str]:
    """The question, and which parts of the stub are to be written."""
    outcomes = live_run.verdict.outcomes if live_run.verdict else ()
    waiting = sum(o.verdict == "not started" for o in outcomes)
    return terminal.lines(
        "",
        paragraph(live_run.kata.question, "bold"),
        "",
        paragraph(f"{waiting} tests wait for {file}:", "yellow"),
        *(paragraph(sentence, "", 3) for sentence in live_run.unwritten),
        "",
        paragraph("Save the file and the tests run. e opens your editor, h gives a hint.", "dim"),
    )


def solved(terminal: Terminal, live_run: LiveRun) -> list[str]:
    skipped = len(live_run.verdict.outcomes) - len(live_run.verdict.counted) if live_run.verdict else 0
    parts: list[Padding | str] = ["", paragraph("Solved: every test passes.", "bold green")]
    if skipped:
        parts.append(paragraph(f"{skipped} tests need a GPU and were skipped.", "dim"))
    parts += ["", paragraph("s  compare with the reference, and see what an interviewer asks next")]
    parts += [paragraph("n  the next kata"), paragraph("d  do it again against the clock")]
    return terminal.lines(*parts)


def tests(terminal: Terminal, live_run: LiveRun) -> list[str]:
    """Every test and its verdict, by stage."""
    lines: list[str] = []
    outcomes = live_run.verdict.outcomes if live_run.verdict else ()
    for stage in sorted({o.stage for o in outcomes}):
        text = live_run.kata.stages[stage - 1] if 0 < stage <= len(live_run.kata.stages) else ""
        lines += terminal.lines("", Text(f" stage {stage}  {text}", "bold"))
        for outcome in outcomes:
            if outcome.stage == stage:
                mark, style = VERDICT_MARKS[outcome.verdict]
                lines += terminal.lines(Text(f"  {mark} {outcome.test}", style, no_wrap=True, overflow="ellipsis"))[:1]
    return lines or terminal.lines("", Text(" No test has run yet.", "dim"))


def page(terminal: Terminal, title: str, text: str) -> list[str]:
    """A text to read: a hint, the solution, the follow-up questions."""
    return terminal.lines("", paragraph(title, "bold"), "", *(paragraph(line) for line in text.splitlines()))
