"""The tables and pages that `kata` prints: with colours on a terminal, as plain text in a pipe."""

import re
import textwrap

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dojo.core import stubs, wide
from dojo.core.catalog import ASKED, Catalog, Kata
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.practice.reading import asks, by_track
from dojo.progress.runs import Progress
from dojo.progress.standing import MARKS, describe_progress

NO_BREAK = "\N{NO-BREAK SPACE}"
END_OF_SENTENCE = "(?<=[.?!]) |(?<=[\u3002\uff1f\uff01])"  # in Chinese without a blank
LINES_BELOW_LIST = 12  # what `kata` prints beside the list of katas, what is due included, and the prompt


def console() -> Console:
    """A console as wide as the terminal, or 100 columns wide in a pipe, so that a pipe's text is always the same."""
    terminal = Console(highlight=False, soft_wrap=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=100)


def short_list(out: Console, catalog: Catalog, standing: dict[str, Progress]) -> None:
    """Prints the names of the katas by track, several in a line, each behind the mark of its progress.

    Where they would not fit a terminal, the longest tracks get a line each, with what is not solved first.
    """
    marks = "  ".join(f"{mark} {say(state)}" for state, (mark, _) in MARKS.items())
    _solved(out, catalog, standing, f"   [dim]{marks}   kata list --long[/dim]")
    tracks = by_track(catalog)
    width = out.width - max(map(len, tracks), default=0) - 4
    rows = {track: _filled([_marked(kata, standing) for kata in katas], width) for track, katas in tracks.items()}
    while out.is_terminal and sum(map(len, rows.values())) > out.height - LINES_BELOW_LIST:
        longest = max(rows, key=lambda track: len(rows[track]))
        if len(rows[longest]) == 1:
            break
        rows[longest] = [_one_line(tracks[longest], standing, width)]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for track, lines in rows.items():
        table.add_row(Text(track), Text("\n").join(lines))
    out.print(table)


def _marked(kata: Kata, standing: dict[str, Progress]) -> Text:
    mark, style = MARKS[standing[kata.name].state]
    return Text.assemble((mark, style), " ", kata.name)


def _one_line(katas: list[Kata], standing: dict[str, Progress], width: int) -> Text:
    """How many of the katas are solved, as many of the others as fit, begun ones first, and how many more there are."""
    others = [kata for kata in katas if standing[kata.name].state != "solved"]
    others.sort(key=lambda kata: standing[kata.name].state != "started")
    solved = len(katas) - len(others)
    head = [Text(f"✓ {solved}", "green")] if solved else []
    for shown in range(len(others), -1, -1):
        more = [Text(f"+{len(others) - shown}", "dim")] if shown < len(others) else []
        (line, *too_many) = _filled([*head, *(_marked(kata, standing) for kata in others[:shown]), *more], width)
        if not too_many:
            break
    return line


def _filled(parts: list[Text], width: int) -> list[Text]:
    """The parts one behind the other, none of them broken, in lines of at most `width`."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = Text("  ").join([lines[-1], part])
        if longer.cell_len <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _solved(out: Console, catalog: Catalog, standing: dict[str, Progress], beside: str = "") -> None:
    solved = sum(p.state == "solved" for p in standing.values())
    out.print(
        say(
            "[bold]{solved} of {total} katas solved[/bold]{beside}",
            solved=solved,
            total=len(catalog.katas),
            beside=beside,
        )
    )


def long_list(out: Console, catalog: Catalog, standing: dict[str, Progress]) -> None:
    """Prints the katas by track, one line each, with progress."""
    _solved(out, catalog, standing)
    out.print(say("[dim]level, minutes, how often interviews ask it, how far you are[/dim]\n"))
    width = max(len(kata.name) for kata in catalog.katas)
    for track in dict.fromkeys(kata.track for kata in catalog.katas):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=1)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(no_wrap=True, width=7)
        table.add_column(no_wrap=True, min_width=6, justify="right")
        table.add_column(no_wrap=True, width=max(map(len, ASKED)))
        table.add_column()
        for kata in catalog.katas:
            if kata.track == track:
                progress = standing[kata.name]
                mark, style = MARKS[progress.state]
                table.add_row(
                    Text(mark, style),
                    kata.name,
                    say(kata.level),
                    say("{minutes} min", minutes=kata.minutes),
                    say(kata.asked),
                    Text(describe_progress(kata, progress), style),
                )
        out.print(f"[bold]{escape(track)}[/bold]")
        out.print(table)
        out.print()


def next_step(
    out: Console, checkout: Checkout, catalog: Catalog, standing: dict[str, Progress], planned: Kata | None = None
) -> None:
    """Prints which kata to do next, and the commands for it: what is `planned`, what is begun, or the first."""
    order = sorted(catalog.katas, key=lambda kata: (kata != planned, standing[kata.name].state != "started"))
    kata = next((k for k in order if standing[k.name].state != "solved"), None)
    if kata is None:
        out.print(say("[green]Everything is solved.[/green] Take one again from memory: kata again NAME"))
        return
    begun = standing[kata.name].state == "started"
    out.print(
        say("[bold]Next: {title}[/bold]", title=escape(kata.title))
        + f"  {describe_progress(kata, standing[kata.name])}" * begun
    )
    first_sentence = re.split(END_OF_SENTENCE, kata.question)[0]  # the list fits one screen
    _indented(out, first_sentence)
    out.print(say("  1. read it    kata show {name}", name=kata.name))
    out.print(say("  2. write      {file}", file=escape(checkout.shown(checkout.answer(kata.name)))))
    out.print(say("  3. test it    kata test {name}    (on every save: kata watch)", name=kata.name))


def kata_page(out: Console, checkout: Checkout, kata: Kata, docstring: str, progress: Progress) -> None:
    """Prints the question, the rules and the stages of one kata. `docstring` is that of its reference."""
    out.print(
        say(
            "[bold]{title}[/bold]  {track}, {level}, asked {asked}, {minutes} minutes",
            title=escape(kata.title),
            track=escape(kata.track),
            level=say(kata.level),
            asked=say(kata.asked),
            minutes=kata.minutes,
        )
    )
    out.print(f"{escape(checkout.shown(checkout.answer(kata.name)))}  ({describe_progress(kata, progress)})\n")
    paragraphs = docstring.strip("\n").split("\n\n")[1:]  # the first line is the title again
    if not asks(kata, paragraphs):
        out.print(say("[bold]Question[/bold]  {question}\n", question=escape(kata.question)))
    for paragraph in paragraphs:
        laid_out = "\n " in paragraph or paragraph.startswith(" ")
        for line in paragraph.splitlines() if laid_out else [" ".join(paragraph.split())]:
            _print_wrapped(out, line)
        out.print()
    out.print(say("[bold]Write[/bold]"))
    for signature in stubs.signatures(stubs.stub(checkout, kata.name)):
        whole = re.sub(r"\[[^]]*\]|[:=] | =", lambda part: part[0].replace(" ", NO_BREAK), signature)
        _print_wrapped(out, "  " + whole, hanging=8)
    out.print()
    out.print(say("[bold]Stages[/bold]"))
    for number, stage in enumerate(kata.stages, 1):
        mark = "■" if number in progress.stages else "□"
        out.print(f"  {mark} {number}. {escape(stage)}")
    out.print(
        say(
            "\nTest it: kata test {name}    Stuck: kata hint {name} ({hints} rungs)",
            name=kata.name,
            hints=len(kata.hints),
        )
    )


def _print_wrapped(out: Console, line: str, hanging: int = 0) -> None:
    """Prints a line, broken between words; further lines begin where it began, or `hanging` columns later."""
    text = line.lstrip()
    indent = " " * (len(line) - len(text))
    wrapped = wide.fill(line, out.width, indent + " " * hanging)
    if wrapped == line:
        wrapped = textwrap.fill(
            text,
            out.width,
            initial_indent=indent,
            subsequent_indent=indent + " " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    out.print(escape(wrapped.replace(NO_BREAK, " ")), soft_wrap=True)


def _indented(out: Console, text: str, style: str = "") -> None:
    """Prints `text` two columns further to the right."""
    out.print(Padding(Text(wide.fill(text, out.width - 2), style), (0, 0, 0, 2), expand=False))


def follow_ups(out: Console, kata: Kata) -> None:
    """Prints what an interviewer asks afterwards, with model answers."""
    if kata.follow_ups:
        out.print(say("\n[bold]What an interviewer asks next[/bold]"))
    for item in kata.follow_ups:
        out.print()
        _indented(out, item.question, "bold")
        _indented(out, item.answer)
