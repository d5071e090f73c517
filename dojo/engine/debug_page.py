"""The page of `kata debug`: one test, the calls that it made of the learner's functions, and its failure."""

import math
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.cells import cell_len, set_cell_size

from dojo.core.humanize import cut
from dojo.core.language import say, say_number
from dojo.core.outcome import Outcome, explains, is_hint
from dojo.core.wide import fill
from dojo.engine.calls import CONSTRUCTOR, Call

MAX_ARGUMENTS, MAX_DOCSTRING_LINES, MAX_MESSAGE_LINES = 8, 2, 7
VALUES = re.compile(r"\w+ {2}")  # "expected  [1, 2]", below which stands what was got
KEYWORD = re.compile(r"[\w:+.\[\]\\/-]+")  # a name that pytest's -k takes as it is


Style = Literal["", "bold", "red"]


class Line(NamedTuple):
    """A line of the page, and how it stands out."""

    text: str
    style: Style = ""


@dataclass
class DebuggedTest:
    """One test that ran. Of its calls, arguments and values are texts, each of which fits a line."""

    outcome: Outcome
    seed: int
    docstring: str
    file: str  # the learner's, as it is shown
    calls: list[Call] = field(default_factory=list)  # the last that the test itself made
    calls_before: int = 0

    @property
    def again(self) -> str:
        """The command that runs it again; with every parameter where the name has letters that -k does not take."""
        test = self.outcome.test
        name = test if KEYWORD.fullmatch(test) else test.partition("[")[0]
        return f"kata test {self.outcome.kata} -k {shlex.quote(name)} --kata-seed={self.seed}"


def page(record: DebuggedTest, width: int, height: int | None) -> list[Line]:
    """The whole page. With a `height`, as many of the last calls as there is room for, and at least the last one."""
    outcome = record.outcome
    test = outcome.test
    head = [
        Line(say("{test}  (stage {stage}, seed {seed})", test=test, stage=outcome.stage, seed=record.seed), "bold"),
        *(Line(text) for text in _wrapped(record.docstring, width, MAX_DOCSTRING_LINES)),
        Line(say("Again: {command}", command=record.again)),  # a command that is copied has no line breaks
    ]
    taken = sum(math.ceil(cell_len(line.text) / width) for line in head)
    tail = [Line(""), *_failure(outcome, width)]
    room = math.inf if height is None else height - taken - len(tail) - 2  # an empty line, and that of the calls before
    arguments = int(max(1, min(MAX_ARGUMENTS, room - 3)))
    blocks: list[list[Line]] = []
    for call in reversed(record.calls):
        block = _call(call, record.file, width, arguments)
        if blocks and sum(map(len, blocks)) + len(block) > room:
            break
        blocks.insert(0, block)
    before = record.calls_before + len(record.calls) - len(blocks)
    calls_before = say_number("... and {number} call before", "... and {number} calls before", before)
    note = [Line(calls_before)] if before else []
    if not record.calls:
        note = [Line(say("The test called none of your functions in its own process."))]
    return [*head, Line(""), *note, *(line for block in blocks for line in block), *tail]


def _call(call: Call, file: str, width: int, most: int) -> list[Line]:
    """The function, at most so many arguments, and what came back."""
    arguments = list(call.arguments.items())
    name, dot, method = call.name.rpartition(".")
    builds = method == CONSTRUCTOR
    if builds:
        arguments = arguments[1:]  # the first is what it builds, which is not built yet
    how, result = _result(call, builds)
    rows = arguments[:most]
    column = max(cell_len(label) for label, _ in [*rows, (how, "")]) + 2
    place = say("{file}, line {line}", file=file, line=call.line) if call.line else file
    heading = say("{function}  ({place})", function=name if builds else name + dot + method, place=place)
    lines = [Line(cut(heading, width), "bold")]
    lines += [Line(cut(f"  {label:{column}}{value}", width)) for label, value in rows]
    if more := len(arguments) - len(rows):
        lines.append(Line(say_number("  ... and {number} argument more", "  ... and {number} arguments more", more)))
    ended = cut(f"  {set_cell_size(how, column)}{result}", width)
    return [*lines, Line(ended, "red" if call.ended == "raised" else "bold")]


def _result(call: Call, builds: bool) -> tuple[str, str]:
    """How the call ended, in a word or some, and with what."""
    if call.ended == "raised":
        return say("raised"), call.error
    if call.yielded:
        how = say_number("yielded {number} value, last", "yielded {number} values, last", call.yielded)
        return how, call.value
    if not call.ended:
        return say("ended"), say("not seen; a debugger stops the recording, for example")
    return say("built") if builds else say("returned"), call.value


def _failure(outcome: Outcome, width: int) -> list[Line]:
    if outcome.verdict == "passed":
        return [Line(say("It passes."), "bold")]
    told = [line for line in outcome.message.splitlines() if is_hint(line) or not explains(line)]
    lines = [
        Line(text, "" if is_hint(line) else "red")
        for line in told[:MAX_MESSAGE_LINES]
        for text in _wrapped(line, width, 1 if VALUES.match(line) else 2)
    ]
    return [*lines[:MAX_MESSAGE_LINES], *([Line("...")] if len(lines) > MAX_MESSAGE_LINES else [])]


def _wrapped(text: str, width: int, most: int) -> Sequence[str]:
    lines = fill(text, width).split("\n")
    if len(lines) > 1:
        return [
            *lines[: most - 1],
            *([lines[most - 1] if len(lines) == most else cut(lines[most - 1], width - 4) + " ..."]),
        ]
    return textwrap.wrap(text, width, break_on_hyphens=False, max_lines=most, placeholder=" ...")
