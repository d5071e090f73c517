"""What a learner does with a kata besides testing it: read it, take a hint, look at the solution, restore the stub.

Each action is recorded in the history. An error of the history does not stop it: its sentence goes to `notify`.
"""

import ast
from collections.abc import Callable
from pathlib import Path

from dojo.core import docstrings
from dojo.core.answers import in_readers_language, learners_stub, note_base
from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.files import backup, digest, write
from dojo.core.language import Texts, say
from dojo.core.paths import Checkout
from dojo.core.stubs import read_reference, stub, without_fences
from dojo.engine.messages import Verdict
from dojo.practice.live_run import LiveRun
from dojo.progress import runs
from dojo.progress.database import tell_of_damage
from dojo.progress.standing import solved_in_this_try

Notify = Callable[[str], object]


def next_hint(checkout: Checkout, kata: Kata, notify: Notify, *, after: int = 0) -> tuple[int, str]:
    """The number (from 1) and the text of the next hint; the last one again when all have been taken.

    It is the hint behind those that are recorded, and at least behind the first `after`.
    """
    if not kata.hints:
        raise UserError(say("{name} has no hints; its question and rules are in `kata show {name}`.", name=kata.name))
    index = min(max(after, _count_events(checkout, kata.name, "hint")), len(kata.hints) - 1)
    _record(checkout, kata.name, "hint", str(index + 1), notify=notify)
    return index + 1, kata.hints[index]


def rules(checkout: Checkout, kata: Kata) -> str:
    """The docstring of the stub in the reader's language: formulas, rules, stages."""
    try:
        docstring = ast.get_docstring(ast.parse(stub(checkout, kata.name))) or ""
        return docstrings.translated(docstring, Texts(checkout.tests(kata.name) / docstrings.FILE))
    except SyntaxError as error:
        shown = checkout.shown(checkout.reference(kata.name))
        raise UserError(say("{shown}, line {line}: {msg}.", shown=shown, line=error.lineno, msg=error.msg)) from error


def solution(checkout: Checkout, kata: Kata, notify: Notify, *, give_up: bool) -> str:
    """The text of the reference, without its fences. Raises UserError if the kata was never solved and `give_up` is not set.

    Looking at it before the present attempt is solved is recorded, also when an earlier attempt was.
    """
    trouble = ""
    try:
        ever_solved = runs.ever_solved(checkout, kata.name)
        solved_now = runs.ever_solved(checkout, kata.name, since_reset=True)
    except UserError as error:
        ever_solved, solved_now, trouble = False, False, f" {error}"
    if not ever_solved and not give_up:
        raise UserError(
            say(
                "The solution of {name} opens when its tests pass: `kata test {name}`. A hint may do: `kata "
                "hint {name}`. To see it now: `kata solution {name} --give-up` (recorded).{trouble}",
                name=kata.name,
                trouble=trouble,
            )
        )
    if not solved_now:
        _record(checkout, kata.name, "solution", "looked" if ever_solved else "gave up", notify=notify)
    return in_readers_language(checkout, kata.name, without_fences(read_reference(checkout, kata.name)))


def record_reading(checkout: Checkout, kata: Kata, notify: Notify) -> None:
    """Records that the question was read: an attempt may begin here."""
    _record(checkout, kata.name, "show", notify=notify)


def record_verdict(checkout: Checkout, live_run: LiveRun, verdict: Verdict, began: float) -> str:
    """Records a run of the learner's file that `began` then. Returns a sentence if the history had trouble."""
    kata = live_run.kata.name
    try:
        runs.record_run(
            checkout,
            verdict.outcomes,
            verdict.expected,
            sources={kata: verdict.source},
            began=began,
            diagnoses={kata: live_run.diagnoses},
            how="watch",
        )
        return tell_of_damage()
    except UserError as error:
        return str(error)


def record_hunt(checkout: Checkout, kata: Kata, notify: Notify) -> None:
    """Records that a hunt shows the reference, as a look at the solution unless the present attempt is solved."""
    if not solved_in_this_try(checkout, kata.name):
        _record(checkout, kata.name, "solution", "hunt", notify=notify)


def reset(checkout: Checkout, kata: Kata, notify: Notify, *, copies: str = "backups") -> Path | None:
    """Restores the stub. Returns the copy of the old file in .dojo/`copies`/, or None if it was the stub already."""
    text = learners_stub(checkout, kata.name)
    file = checkout.answer(kata.name)
    copy, put_aside = None, ""
    if file.exists() and file.read_bytes() != text.encode():
        copy, put_aside = backup(checkout, file, copies), digest(file)
    write(file.resolve(), text)  # a link stays one
    note_base(checkout, kata.name, text)
    _record(checkout, kata.name, "reset", put_aside, notify=notify)
    return copy


def _record(checkout: Checkout, kata: str, event: str, detail: str = "", *, notify: Notify) -> None:
    try:
        runs.record_event(checkout, kata, event, detail)
    except UserError as error:
        notify(str(error))


def _count_events(checkout: Checkout, kata: str, event: str) -> int:
    try:
        return runs.count_events(checkout, kata, event)
    except UserError:
        return 0
