"""What a learner does to one kata besides testing it: take a hint, look at the answer, start afresh, add a new one."""

import ast
import os
import shutil
import tempfile
import time
from pathlib import Path

from dojo import history
from dojo.catalog import Kata
from dojo.paths import Checkout
from dojo.problem import Problem
from dojo.render import render


def next_hint(checkout: Checkout, kata: Kata) -> tuple[int, str]:
    """The next rung (1-based) and its text; the last one again when all have been taken."""
    if not kata.hints:
        raise Problem(f"{kata.name} has no hints; its question and rules are in `kata show {kata.name}`.")
    rung = min(_recorded(checkout, kata.name, "hint"), len(kata.hints) - 1)
    _record(checkout, kata.name, "hint", str(rung + 1))
    return rung + 1, kata.hints[rung]


def rules(checkout: Checkout, kata: Kata) -> str:
    """What the reference's docstring says: formulas, rules, stages. Stub and reference have it in common."""
    try:
        return ast.get_docstring(ast.parse(_read_reference(checkout, kata.name))) or ""
    except SyntaxError as error:
        shown = checkout.shown(checkout.reference(kata.name))
        raise Problem(f"{shown}, line {error.lineno}: {error.msg}.") from error


def solution(checkout: Checkout, kata: Kata, *, give_up: bool) -> str:
    """The reference's text; only for who has solved the kata, or gives up.

    Looking before the present attempt is solved is recorded in either case: it is repeated from memory, or not.
    """
    try:
        solved = history.ever_solved(checkout, kata.name)
        afresh = not history.ever_solved(checkout, kata.name, since_reset=True)
    except Problem:
        solved, afresh = False, True
    if not solved and not give_up:
        raise Problem(
            f"The solution of {kata.name} opens when its tests pass: `kata test {kata.name}`. "
            f"A hint may do: `kata hint {kata.name}`. To see it now: `kata solution {kata.name} --give-up` (recorded)."
        )
    if afresh:
        _record(checkout, kata.name, "solution", "looked" if solved else "gave up")
    return _read_reference(checkout, kata.name)


def look(checkout: Checkout, kata: Kata) -> None:
    """Records that the question was read: an attempt may begin here."""
    _record(checkout, kata.name, "show")


def reset(checkout: Checkout, kata: Kata, copies: str = "backups") -> Path | None:
    """Restores the stub. What stood there is copied to .dojo/`copies`/ first; returns the copy (None: nothing was lost)."""
    stub = render(_read_reference(checkout, kata.name), kata.name)
    file = checkout.stub(kata.name)
    copy = None
    if file.exists() and file.read_bytes() != stub.encode():
        copy = backup(checkout, file, copies)
    write(file, stub)
    _record(checkout, kata.name, "reset")
    return copy


def render_stubs(checkout: Checkout, names: list[str], *, check: bool) -> tuple[list[str], list[Path]]:
    """Writes the stubs of `names` from their references; returns those that were not so before, and the copies made.

    With `check` nothing is written. A stub that the learner has edited is copied before it is overwritten.
    """
    stale, copies = [], []
    for name in names:
        stub = render(_read_reference(checkout, name), name)
        file = checkout.stub(name)
        old = file.read_bytes() if file.exists() else None
        if old == stub.encode():
            continue
        stale.append(name)
        if not check:
            if old is not None:
                copies.append(backup(checkout, file))
            write(file, stub)
    return stale, copies


def backup(checkout: Checkout, file: Path, copies: str = "backups") -> Path:
    """Copies `file` into .dojo/`copies`/ under a name of its own."""
    folder = checkout.state / copies
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            copy = folder / f"{file.stem}-{stamp}{f'-{number}' if number else ''}{file.suffix}"
            if not copy.exists():
                return Path(shutil.copy2(file, copy))
    except OSError as error:
        raise Problem(
            f"No copy of {checkout.shown(file)} could be made ({error}), so it was left as it is. Make room in {folder}."
        ) from error
    raise Problem(f"No copy of {checkout.shown(file)} could be made, so it was left as it is. Tidy up {folder}.")


def write(file: Path, text: str) -> None:
    """Replaces `file` in one step: a crash leaves the old text or the new one, never half of it."""
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as temporary:
                temporary.write(text)
            os.chmod(name, file.stat().st_mode & 0o777 if file.exists() else 0o644)
            os.replace(name, file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Problem(
            f"{file} cannot be written ({error.strerror}); nothing was changed. Check the folder's permissions and free space."
        ) from error


def _read_reference(checkout: Checkout, name: str) -> str:
    file = checkout.reference(name)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shown = checkout.shown(file)
        raise Problem(f"{shown} cannot be read ({error}). Restore it with `git checkout -- {shown}`.") from error


def _record(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """History is a convenience: trouble with it is said, and the command goes on."""
    try:
        history.record_event(checkout, kata, what, detail)
    except Problem as problem:
        import click

        click.echo(str(problem), err=True)


def _recorded(checkout: Checkout, kata: str, what: str) -> int:
    try:
        return history.count_events(checkout, kata, what)
    except Problem:
        return 0
