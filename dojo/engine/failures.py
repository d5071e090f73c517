"""How a failing test is shown: the sentence for the learner first, then a short traceback."""

import bdb
import re
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprEntryNative, TerminalRepr

from dojo.core.language import say
from dojo.core.outcome import MAX_MESSAGE_CHARS, explains, hint_line, shortened, text_of, why_line
from dojo.core.paths import Checkout
from dojo.core.phrases import Phrases, phrases_of
from dojo.core.source import NotSource
from dojo.engine.hang import StillRunning
from dojo.engine.processes import wrote_too_much

MAX_LINES = 40  # of one part of a traceback


class ExplainedFailure(TerminalRepr):
    """The learner's sentence, then the traceback that led to it."""

    def __init__(self, sentence: str, traceback: ExceptionChainRepr) -> None:
        self.sentence = sentence
        self.traceback = traceback

    def toterminal(self, tw: Any) -> None:
        for line in self.sentence.splitlines():
            tw.line(line, red=not explains(line), bold=True)
        tw.line("")
        self.traceback.toterminal(tw)


def explain_import_error(checkout: Checkout, file: Path, error: BaseException | None) -> str:
    """Why the learner's `file` does not import, in a sentence; empty when the fault lies elsewhere."""
    kata = file.stem
    shown = checkout.shown(file)
    if file.is_dir():
        return say(
            "{shown} is a folder, but a kata is a file. Move it elsewhere, then get the stub with: kata reset {kata}",
            shown=shown,
            kata=kata,
        )
    if not file.is_file():
        return say("{shown} does not exist. Get the stub back with: kata reset {kata}", shown=shown, kata=kata)
    if isinstance(error, NotSource):
        return say("{file} {why}\nNothing was run.", file=checkout.shown(Path(error.file)), why=error.why)
    if isinstance(error, SyntaxError) and Path(error.filename or file).parent == file.parent:
        shown = checkout.shown(Path(error.filename or file))
        text = (error.text or "").rstrip()
        caret = " " * ((error.offset or 1) - 1) + "^"
        return say(
            "{shown}, line {line}: {msg}\n    {text}\n    {caret}\nMend that line and save; nothing was run.",
            shown=shown,
            line=error.lineno or 1,
            msg=error.msg,
            text=text,
            caret=caret,
        )
    if missing := re.match(rf"cannot import name '(\w+)' from 'katas\.{kata}'", text_of(error)):
        return say(
            "{shown} has no `{name}`, which its tests import. Keep the names of the stub (kata show {kata}).",
            shown=shown,
            name=missing[1],
            kata=kata,
        )
    number = _last_line_in(error, file) if error else None
    if error and number:
        return say(
            "{shown}, line {number}: importing it {what}", shown=shown, number=number, what=what_happened(error, kata)
        )
    return f"{shown} {what_happened(error, kata)}" if isinstance(error, bdb.BdbQuit) else ""


def explain_failure(
    checkout: Checkout, file: Path, item: pytest.Item, error: BaseException | None, *, may_run_again: bool = True
) -> str:
    """The sentence above the traceback of a failed test; empty when the fault lies outside the learner's `file`.

    For an error of the test's own, the test is run again to see what it was given, unless it may not.
    """
    from dojo.testing import Wrong  # brings torch

    phrases = phrases_of(checkout.tests(file.stem))
    if isinstance(error, Wrong):
        lines = [*map(phrases, error.lines), *([hint_line(phrases(error.hint))] if error.hint else [])]
        return shortened("\n".join(lines))
    line = _last_line_in(error, file) if error else None
    if error is None:
        return ""
    if isinstance(error, StillRunning):
        where = say("{file}, line {line}, {what}", file=checkout.shown(file), line=line, what=error)
        sentence = where if line else f"{item.name} {error}"
    elif line:
        what = what_happened(error, file.stem)
        sentence = say("{file}, line {line}, {what}", file=checkout.shown(file), line=line, what=what)
    elif isinstance(error, bdb.BdbQuit):  # the debugger was left after the kata's last line
        sentence = f"{checkout.shown(file)} {what_happened(error, file.stem)}"
    elif may_run_again and isinstance(error, Exception):
        from dojo.engine.returned import explain_result  # not before: where memory ran out, there is none for an import

        sentence = explain_result(item, file, error)
    else:
        sentence = ""
    if not sentence:
        return ""
    notes = getattr(error, "__notes__", None)  # see dojo.testing.called_for; learners' code may have written anything
    if isinstance(notes, list):
        sentence = "\n".join([sentence, *(_told(shortened(note), phrases) for note in notes if isinstance(note, str))])
    why = purpose_of(item, phrases)
    return f"{sentence}\n{why_line(why)}" if why else sentence


def _told(note: str, phrases: Phrases) -> str:
    hint = note.removeprefix("hint: ")
    return phrases(note) if hint == note else hint_line(phrases(hint))


def purpose_of(item: pytest.Item, phrases: Phrases) -> str:
    """What a test is for: its docstring, in one line, as its kata's `phrases` say it."""
    docstring = getattr(getattr(item, "obj", None), "__doc__", None) or ""
    return phrases(" ".join(docstring.split()))


def what_happened(error: BaseException, kata: str) -> str:
    """A clause without its subject: "raised ValueError: no"; what it means here, where the exception does not say it."""
    if isinstance(error, bdb.BdbQuit):
        return say(
            "stopped at a breakpoint, and nobody can type into a debugger here. To debug: kata test {kata} -x",
            kata=kata,
        )
    if clause := wrote_too_much(error):
        return clause
    text = text_of(error)
    if isinstance(error, OSError) and text.startswith("pytest: reading from stdin"):
        return say("waits for input, and nobody can type during a run: delete input()")
    return (
        say("raised {kind}: {text}", kind=type(error).__name__, text=text)
        if text
        else say("raised {kind}", kind=type(error).__name__)
    )


def shorten_traceback(longrepr: Any, error: BaseException | None, sentence: str) -> Any:
    """`longrepr` without the frames of torch and of the checks, below `sentence` if there is one."""
    from dojo.testing import Wrong

    if not isinstance(longrepr, ExceptionChainRepr):
        return shortened(longrepr) if isinstance(longrepr, str) else longrepr
    if longrepr.reprcrash:
        longrepr.reprcrash.message = shortened(longrepr.reprcrash.message)  # pytest's last lines repeat it
    if isinstance(error, Wrong):  # the exceptions that it was raised from explain nothing
        longrepr.chain = longrepr.chain[-1:]
    for traceback, _, _ in longrepr.chain:
        entries = traceback.reprentries
        kept = [entry for entry in entries if not _is_library_frame(entry)] or entries
        error_lines = [line for line in getattr(entries[-1], "lines", ()) if line.startswith("E")]
        traceback.reprentries = kept
        last = kept[-1]
        if isinstance(last, ReprEntry):
            code_lines = [line for line in last.lines if not line.startswith("E")]
            last.lines = code_lines if sentence else [*code_lines, *error_lines]  # the sentence says the same
        for entry in kept:
            if isinstance(entry, ReprEntry | ReprEntryNative):
                entry.lines = [shortened(line) for line in entry.lines[:MAX_LINES]]
    return ExplainedFailure(sentence, longrepr) if sentence else longrepr


def leave_out_traceback(item: pytest.Item) -> None:
    """Gives `item` failures of one line: reading and parsing sources for tracebacks takes most of a failing run's time."""
    vars(item)["repr_failure"] = vars(item)["_repr_failure_py"] = _one_line


def _one_line(excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> str:
    return excinfo.exconly()


def shorten_captured(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Cuts what was printed: pytest would show all of it, and a loop may print megabytes."""
    for index, (title, text) in enumerate(report.sections):
        if len(text) > MAX_MESSAGE_CHARS:
            rest = len(text) - MAX_MESSAGE_CHARS
            note = say("... and {rest} characters more; `kata test NAME -s` prints all of them", rest=rest)
            report.sections[index] = (title, f"{text[:MAX_MESSAGE_CHARS]}\n{note}\n")


def _is_library_frame(entry: Any) -> bool:
    path = str(getattr(getattr(entry, "reprfileloc", None), "path", ""))
    return "site-packages" in path or path.endswith("contextlib.py") or Path(path).parts[-3:-1] == ("dojo", "testing")


def _last_line_in(error: BaseException, file: Path) -> int | None:
    line, trace = None, error.__traceback__
    while trace:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
