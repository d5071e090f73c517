"""The parts of a screen that watch, drill and hunt have in common. Every function returns lines for `Terminal.draw`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from dojo.core.language import say
from dojo.core.outcome import Outcome, comparing, explains, full_stop, harmless, sentences_of
from dojo.core.wide import fill
from dojo.practice.live_run import LiveRun, death_sentence
from dojo.practice.pages import NO_CURSOR, Entry
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
    room = _room(terminal, top, bottom)
    if len(body) > room and not body[0].strip():
        body = body[1:]  # a small window has no line to spare
    visible = body[scroll : scroll + room]
    if len(body) > scroll + room > scroll + 1:
        visible[-1:] = terminal.lines(Text(say("   ... more: arrow down, or a taller window"), "dim"))[:1]
    return (top + visible + [""] * (room - len(visible)) + bottom)[:rows]


def room_and_last_line(terminal: Terminal, top: list[str], body: list[str], bottom: list[str]) -> tuple[int, int]:
    """How many lines of `body` a frame has room for, and from which line on it shows the end of `body`."""
    room = _room(terminal, top, bottom)
    dropped = len(body) > room and not body[0].strip()
    return room, max(0, len(body) - dropped - room)


def _room(terminal: Terminal, top: list[str], bottom: list[str]) -> int:
    return max(1, terminal.size[1] - len(top) - len(bottom))


def rule(terminal: Terminal) -> str:
    """A horizontal line."""
    return terminal.lines(Text("─" * terminal.size[0], "dim"))[0]


class Paragraph(Padding):
    """A text with margins. In a script without blanks between its words, it is broken between any two of its characters."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.renderable
        assert isinstance(text, Text)
        lines = fill(text.plain, options.max_width - self.left - self.right)
        yield Padding(Text(lines, text.style), (0, self.right, 0, self.left), expand=False)


def paragraph(text: str, style: str = "", left: int = 1) -> Padding:
    """A paragraph with a margin left and right, however it is wrapped."""
    text = text.replace("\x1b", "\N{SYMBOL FOR ESCAPE}")  # a kata's message must not move the cursor
    return Paragraph(Text(text, style), (0, 1, 0, left), expand=False)


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


def verdict(terminal: Terminal, file: str, live_run: LiveRun, missing: bool, step_key: str = "") -> list[str]:
    """The middle of the screen: the failure to mend, the tests that wait for code, or what is going on.

    `missing` says that the file does not exist; `step_key` is the key that shows the next failure, if there is one.
    """
    if missing:
        missed = say("{file} does not exist. Press r to get the stub back.", file=file)
        return terminal.lines("", paragraph(missed, "bold red"))
    if live_run.died:
        died = live_run.died
        sentence = death_sentence(died) if died.number else full_stop(died.why.capitalize())
        advice = paragraph(say("Nothing else was harmed. Mend it and save: the next save runs again."))
        return terminal.lines("", paragraph(sentence, "bold red"), "", advice)
    if live_run.solved and not live_run.waiting:
        return solved(terminal, live_run)
    shown = live_run.failure
    if shown:
        parts = ["", *failure_title(terminal, live_run, shown, step_key), *failure(shown.message)]
        for sentence in sentences_of(live_run.diagnoses):
            parts += ["", paragraph(full_stop(sentence), "bold yellow", 3)]
        if live_run.comparing:
            parts += ["", paragraph(comparing(live_run.comparing), "dim", 3)]
        return terminal.lines(*parts)
    if live_run.unwritten:
        return unwritten(terminal, file, live_run)
    if live_run.verdict and not live_run.waiting:
        nothing = say("No test ran. Look at it with: kata test {kata}", kata=live_run.kata.name)
        return terminal.lines("", paragraph(nothing, "red"))
    starting = say("Starting: torch takes some seconds the first time ...")
    return terminal.lines("", paragraph(say("Running the tests ...") if live_run.running else starting, "dim"))


def failure_title(terminal: Terminal, live_run: LiveRun, shown: Outcome, step_key: str) -> list[RenderableType]:
    """The name of the failed test, and at the end of the line, if there is room, which failure of how many it is."""
    number = len(live_run.failures)
    which = say("{number} of {total}: {key} the next", number=live_run.chosen + 1, total=number, key=step_key)
    name, place = Text(f" ✗ {shown.test}", "bold red"), Text(which, "dim")
    if not step_key or number == 1:
        return [paragraph(name.plain.strip(), "bold red")]
    space = terminal.size[0] - name.cell_len - place.cell_len - 1
    if space < 1:
        return [paragraph(name.plain.strip(), "bold red"), paragraph(place.plain, "dim", 3)]
    return [name.append(" " * space).append_text(place)]


def failure(message: str) -> list[RenderableType]:
    """What a failed test says, its hint and its reason in a colour of their own."""
    first, *rest = message.splitlines() or [""]
    styles = ["cyan" if explains(line) else "" for line in rest]
    lines = [paragraph(line, style, 3) for line, style in zip(rest, styles, strict=True)]
    return [paragraph(first, "bold", 3), *lines] if message else []


def printed(when: str, text: str) -> list[RenderableType]:
    """What the learner's code printed, below a heading; nothing if it printed nothing."""
    head = say("Printed {when}", when=when)
    return ["", paragraph(head, "bold magenta"), paragraph(text.rstrip())] if text.strip() else []


@lru_cache(maxsize=1)  # 280 lines take 20 ms, and are drawn again as every test begins
def printed_lines(terminal: Terminal, width: int, when: str, text: str) -> list[str]:
    parts = printed(when, text)
    return terminal.lines(*parts, width=width) if parts else []


def code(terminal: Terminal, text: str, language: str = "python") -> RenderableType:
    """`text` with the colours of its language. A line that is too long goes on further to the right."""
    from rich.syntax import Syntax  # not before: the first verdict does not wait for it

    syntax = Syntax("", language, theme="ansi_dark", word_wrap=True, background_color="default")
    highlighted = syntax.highlight(harmless(text))
    highlighted.rstrip()
    lines = [part for line in highlighted.split("\n", allow_blank=True) for part in _wrapped(terminal, line)]
    return Padding(Text("\n").join(lines), (0, 1), expand=False)


def _wrapped(terminal: Terminal, line: Text) -> list[Text]:
    width = max(2, terminal.size[0] - 2)
    first = line.wrap(terminal.console, width)[0] if line.cell_len > width else line
    rest = line.plain[len(first) :].lstrip()
    if not rest:
        return [line]
    indent = min(len(line.plain) - len(line.plain.lstrip(" +-")) + 4, width // 2)
    further = line[len(line) - len(rest) :].wrap(terminal.console, width - indent)
    return [first, *(Text(" " * indent).append_text(part) for part in further)]


def unwritten(terminal: Terminal, file: str, live_run: LiveRun) -> list[str]:
    """The question, and which parts of the stub are to be written."""
    outcomes = live_run.verdict.outcomes if live_run.verdict else ()
    waiting = sum(o.verdict == "not started" for o in outcomes)
    return terminal.lines(
        "",
        paragraph(live_run.kata.question, "bold"),
        "",
        paragraph(say("{number} tests wait for {file}:", number=waiting, file=file), "yellow"),
        *(paragraph(sentence, "", 3) for sentence in live_run.unwritten),
        "",
        paragraph(say("Save the file and the tests run. e opens your editor, h gives a hint."), "dim"),
    )


def solved(terminal: Terminal, live_run: LiveRun) -> list[str]:
    skipped = len(live_run.verdict.outcomes) - len(live_run.verdict.counted) if live_run.verdict else 0
    parts: list[Padding | str] = ["", paragraph(say("Solved: every test passes."), "bold green")]
    if skipped:
        parts.append(paragraph(say("{number} tests need a GPU and were skipped.", number=skipped), "dim"))
    parts += ["", paragraph(say("s  compare with the reference, and see what an interviewer asks next"))]
    parts += [paragraph(say("n  the next kata")), paragraph(say("d  do it again against the clock"))]
    return terminal.lines(*parts)


def tests(terminal: Terminal, live_run: LiveRun) -> list[str]:
    """Every test and its verdict, by stage."""
    lines: list[str] = []
    for stage, outcomes in groupby(live_run.in_order, key=lambda o: o.stage):
        text = live_run.kata.stages[stage - 1] if 0 < stage <= len(live_run.kata.stages) else ""
        head = Text(fill(say(" stage {stage}  {asks}", stage=stage, asks=text), terminal.size[0]), "bold")
        lines += terminal.lines("", head)
        for outcome in outcomes:
            mark, style = VERDICT_MARKS[outcome.verdict]
            lines.append(entry(terminal, Text(f"{mark} {outcome.test}", style)))
    return lines or terminal.lines("", Text(say(" No test has run yet."), "dim"))


def entry(terminal: Terminal, text: Text) -> Entry:
    """A line of a list that can be chosen."""
    line = Text(NO_CURSOR, no_wrap=True, overflow="ellipsis", end="").append_text(text)
    return Entry(terminal.lines(line)[0])


def page(terminal: Terminal, title: str, text: str) -> list[str]:
    """A text to read, such as a hint."""
    return terminal.lines("", paragraph(title, "bold"), "", paragraph(text))
