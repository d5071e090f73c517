"""The learner's files: made from the stubs, carried over from katas/, and never overwritten once they are edited.

`.dojo/stubs/` keeps the stub that each file was made from. It tells a file that nobody has edited from an answer, and it is
the common ancestor when a newer stub is merged into an answer (`kata update`).
"""

import json
from contextlib import suppress
from pathlib import Path

from dojo.core.catalog import pack_name
from dojo.core.errors import UserError
from dojo.core.files import backup, write
from dojo.core.paths import CATALOG_FILE, Checkout, is_pack, own_pack
from dojo.core.stubs import stub


def base(checkout: Checkout, kata: str) -> Path:
    """The stub that the learner's file was made from, or was last brought up to."""
    return checkout.state / "stubs" / f"{kata}.py"


def carried(checkout: Checkout, kata: str) -> Path:
    """What was carried over from katas/ last."""
    return checkout.state / "carried" / f"{kata}.py"


def prepare(checkout: Checkout) -> list[str]:
    """Makes the learner's file of each kata that has none, and brings files that nobody has edited up to the stub.

    Returns sentences: which answers were carried over from katas/, and which stubs are newer than an answer.
    """
    _check_workspace(checkout)
    stale: list[str] = []
    names = sorted(file.stem for file in checkout.katas.glob("[!_]*.py"))
    sentences: list[str] = []
    try:
        for kata in names:
            sentences += _prepare(checkout, kata, stale)
    except UserError as error:  # a folder that cannot be written: what is there can still be tested
        sentences.append(str(error))
    if stale:
        have = "The stub of {} has" if len(stale) == 1 else "The stubs of {} have"
        sentences.append(f"{have.format(', '.join(stale))} changed since you began: kata update")
    return sentences


def _check_workspace(checkout: Checkout) -> None:
    """Raises UserError if the answers of this workspace were begun from another pack. Notes which pack it is."""
    if not checkout.workspace:
        return
    name, root = pack_name(checkout), "" if checkout.root == own_pack() else str(checkout.root)
    note = checkout.state / "pack.json"
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {"name": name, "root": root}
    advice = f"A pack needs a workspace of its own: kata --pack {checkout.root} init DIR"
    if known["name"] != name:
        raise UserError(
            f"The answers in {checkout.workspace} belong to the pack {known['name']}, not to {name}. {advice}"
        )
    if known["root"] != root and known["root"] and is_pack(Path(known["root"])):
        raise UserError(
            f"Two packs are called {name}: {known['root']}, to which the answers in {checkout.workspace} belong, and "
            f"{root or checkout.root}. Give one another `name` in {CATALOG_FILE.as_posix()}. {advice}"
        )
    _note(note, json.dumps({"name": name, "root": root}))


def _prepare(checkout: Checkout, kata: str, stale: list[str]) -> list[str]:
    published, answer, old = (_read(f) for f in (checkout.stub(kata), checkout.answer(kata), base(checkout, kata)))
    if published is None or (published == old and answer is not None):  # the usual case
        return []
    new = _new_stub(checkout, kata, published)
    before = _read(carried(checkout, kata))
    edited = published not in (new, old)
    if answer is None or answer == old or (edited and answer == before):
        if answer is not None and answer != old:
            backup(checkout, checkout.answer(kata))
        write(checkout.answer(kata), published if edited else new)
        note_base(checkout, kata, new)
        if not edited:
            return []
        _note(carried(checkout, kata), published)
        return [
            f"{checkout.shown(checkout.stub(kata))} was edited, so it was copied to "
            f"{checkout.shown(checkout.answer(kata))}: go on there, where no update gets in your way."
        ]
    if answer == new:
        note_base(checkout, kata, new)
    elif edited and published not in (before, answer):
        return [
            f"{checkout.shown(checkout.stub(kata))} was edited, but what counts is "
            f"{checkout.shown(checkout.answer(kata))}, which was edited as well."
        ]
    elif old is not None and new != old:
        stale.append(kata)
    return []


def _new_stub(checkout: Checkout, kata: str, published: bytes) -> bytes:
    """The kata's stub by its reference; as published while its author has left the reference broken."""
    try:
        return stub(checkout, kata).encode()
    except UserError:
        return published


def note_base(checkout: Checkout, kata: str, content: str | bytes) -> None:
    """Keeps the stub that the learner's file is now made from."""
    _note(base(checkout, kata), content)


def _note(file: Path, content: str | bytes) -> None:
    with suppress(UserError):  # where .dojo/ cannot be written: an update has to do without
        write(file, content)


def _read(file: Path) -> bytes | None:
    """The content of `file`; None if it is no file. Raises UserError if it may not be read."""
    try:
        return file.read_bytes() if file.is_file() else None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Mend its permissions and try again.") from error
