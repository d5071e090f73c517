"""What a learner does to one kata besides testing it: take a hint, look at the answer, start afresh, add a new one."""

import ast
from pathlib import Path

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.files import backup, write
from dojo.core.paths import Checkout
from dojo.core.stubs import read_reference, stub
from dojo.progress import runs


def next_hint(checkout: Checkout, kata: Kata) -> tuple[int, str]:
    """The next rung (1-based) and its text; the last one again when all have been taken."""
    if not kata.hints:
        raise UserError(f"{kata.name} has no hints; its question and rules are in `kata show {kata.name}`.")
    rung = min(_recorded(checkout, kata.name, "hint"), len(kata.hints) - 1)
    _record(checkout, kata.name, "hint", str(rung + 1))
    return rung + 1, kata.hints[rung]


def rules(checkout: Checkout, kata: Kata) -> str:
    """What the reference's docstring says: formulas, rules, stages. Stub and reference have it in common."""
    try:
        return ast.get_docstring(ast.parse(read_reference(checkout, kata.name))) or ""
    except SyntaxError as error:
        shown = checkout.shown(checkout.reference(kata.name))
        raise UserError(f"{shown}, line {error.lineno}: {error.msg}.") from error


def solution(checkout: Checkout, kata: Kata, *, give_up: bool) -> str:
    """The reference's text; only for who has solved the kata, or gives up.

    Looking before the present attempt is solved is recorded in either case: it is repeated from memory, or not.
    """
    try:
        solved = runs.ever_solved(checkout, kata.name)
        afresh = not runs.ever_solved(checkout, kata.name, since_reset=True)
    except UserError:
        solved, afresh = False, True
    if not solved and not give_up:
        raise UserError(
            f"The solution of {kata.name} opens when its tests pass: `kata test {kata.name}`. "
            f"A hint may do: `kata hint {kata.name}`. To see it now: `kata solution {kata.name} --give-up` (recorded)."
        )
    if afresh:
        _record(checkout, kata.name, "solution", "looked" if solved else "gave up")
    return read_reference(checkout, kata.name)


def look(checkout: Checkout, kata: Kata) -> None:
    """Records that the question was read: an attempt may begin here."""
    _record(checkout, kata.name, "show")


def reset(checkout: Checkout, kata: Kata, copies: str = "backups") -> Path | None:
    """Restores the stub. What stood there is copied to .dojo/`copies`/ first; returns the copy (None: nothing was lost)."""
    text = stub(checkout, kata.name)
    file = checkout.stub(kata.name)
    copy = None
    if file.exists() and file.read_bytes() != text.encode():
        copy = backup(checkout, file, copies)
    write(file, text)
    _record(checkout, kata.name, "reset")
    return copy


def _record(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """History is a convenience: trouble with it is said, and the command goes on."""
    try:
        runs.record_event(checkout, kata, what, detail)
    except UserError as problem:
        import click

        click.echo(str(problem), err=True)


def _recorded(checkout: Checkout, kata: str, what: str) -> int:
    try:
        return runs.count_events(checkout, kata, what)
    except UserError:
        return 0
