"""The learner's files: made from the stubs, carried over from katas/, and never overwritten once they are edited.

`.dojo/stubs/` keeps the stub that each file was made from. It tells a file that nobody has edited from an answer, and it is
the common ancestor when a newer stub is merged into an answer (`kata update`).
"""

import json
from contextlib import suppress
from pathlib import Path

from dojo.core import docstrings
from dojo.core.catalog import pack_name
from dojo.core.errors import UserError
from dojo.core.files import backup, write
from dojo.core.language import LANGUAGES, Texts, language, say, to_say
from dojo.core.paths import Checkout, own_pack
from dojo.core.settings import CATALOG_FILE, is_pack
from dojo.core.stubs import stub

CARRIED = to_say("Edited in katas/, and so copied to answers/, where no update gets in the way; go on there: {katas}")
BOTH_EDITED = to_say("Edited in katas/ as well as in answers/, which is what counts: {katas}")
STALE = to_say("The stub has changed since you began, so bring it into your answer (kata update): {katas}")
SENTENCES = (CARRIED, BOTH_EDITED, STALE)


def base(checkout: Checkout, kata: str) -> Path:
    """The stub that the learner's file was made from, or was last brought up to."""
    return checkout.state / "stubs" / f"{kata}.py"


def _english_base(checkout: Checkout, kata: str) -> Path:
    """What `base` is a translation of, if it is one."""
    return checkout.state / "stubs" / "english" / f"{kata}.py"


def carried(checkout: Checkout, kata: str) -> Path:
    """What was carried over from katas/ last."""
    return checkout.state / "carried" / f"{kata}.py"


def prepare(checkout: Checkout) -> list[str]:
    """Makes the learner's file of each kata that has none, and brings files that nobody has edited up to the stub.

    Returns sentences: which answers were carried over from katas/, and which stubs are newer than an answer.
    """
    _check_workspace(checkout)
    found: dict[str, list[str]] = {sentence: [] for sentence in SENTENCES}
    trouble: list[str] = []
    try:
        for file in sorted(checkout.katas.glob("[!_]*.py")):
            if sentence := _prepare(checkout, file.stem):
                found[sentence].append(file.stem)
    except UserError as error:  # a folder that cannot be written: what is there can still be tested
        trouble.append(str(error))
    return [*(say(sentence, katas=", ".join(katas)) for sentence, katas in found.items() if katas), *trouble]


def _check_workspace(checkout: Checkout) -> None:
    """Raises UserError if the answers of this workspace were begun from another pack. Notes which pack it is."""
    if not checkout.workspace:
        return
    name, root = pack_name(checkout), "" if checkout.root == own_pack() else str(checkout.root)
    note = checkout.state / "pack.json"
    known = {"name": name, "root": root}
    with suppress(OSError, ValueError, TypeError):  # it is not there, or damaged
        known |= json.loads(note.read_text(encoding="utf-8"))
    advice = say("A pack needs a workspace of its own: kata --pack {root} init DIR", root=checkout.root)
    if known["name"] != name:
        raise UserError(
            say(
                "The answers in {folder} belong to the pack {pack}, not to {name}. {advice}",
                folder=checkout.workspace,
                pack=known["name"],
                name=name,
                advice=advice,
            )
        )
    if known["root"] != root and known["root"] and is_pack(Path(known["root"])):
        raise UserError(
            say(
                "Two packs are called {name}: {known}, to which the answers in {folder} belong, and {other}. Give one "
                "another `name` in {catalog}. {advice}",
                name=name,
                known=known["root"],
                folder=checkout.workspace,
                other=root or checkout.root,
                catalog=CATALOG_FILE.as_posix(),
                advice=advice,
            )
        )
    _note(note, json.dumps({"name": name, "root": root}))


def _prepare(checkout: Checkout, kata: str) -> str:
    """Makes the learner's file, or brings it up to date. Returns one of SENTENCES, or an empty text."""
    published, answer, old = (_read(f) for f in (checkout.stub(kata), checkout.answer(kata), base(checkout, kata)))
    if published is None or (
        answer is not None and old == _in(language(), checkout, kata, published)
    ):  # the usual case
        return ""
    english = _new_stub(checkout, kata, published)
    new = _in(language(), checkout, kata, english)
    before = _read(carried(checkout, kata))
    edited = published != english and old not in _in_each_language(checkout, kata, published)
    is_carried = answer is not None and answer == before  # and has not been edited since
    in_another_language = answer != new and answer in _in_each_language(checkout, kata, english)  # and not edited
    if answer is None or answer == old or in_another_language or (edited and is_carried and published != before):
        if is_carried:
            backup(checkout, checkout.answer(kata))
        write(checkout.answer(kata).resolve(), published if edited else new)  # a link stays one
        note_base(checkout, kata, new)
        if edited:
            _note(carried(checkout, kata), published)
        return CARRIED if edited else ""
    if answer == new:
        note_base(checkout, kata, new)
    elif edited and published not in (before, answer):
        return BOTH_EDITED
    elif old is not None and old not in _in_each_language(checkout, kata, english):
        same = _read(_english_base(checkout, kata)) == english  # a translation that reads better now is no news
        return "" if same else STALE
    return ""


def learners_stub(checkout: Checkout, kata: str) -> str:
    """The kata's stub as the learner gets it: its docstrings in their language."""
    return in_readers_language(checkout, kata, stub(checkout, kata))


def in_readers_language(checkout: Checkout, kata: str, source: str) -> str:
    """The kata's stub or reference `source` with the docstrings of the stub in the reader's language."""
    return _in(language(), checkout, kata, source.encode()).decode()


def _in(code: str, checkout: Checkout, kata: str, source: bytes) -> bytes:
    """The stub `source` with the docstrings in the language `code`; unchanged if it is no Python."""
    texts = Texts(checkout.tests(kata) / docstrings.FILE, code)
    if not texts:
        return source
    with suppress(SyntaxError, UnicodeDecodeError):
        return docstrings.stub_in(source.decode(), texts).encode()
    return source


def _in_each_language(checkout: Checkout, kata: str, source: bytes) -> set[bytes]:
    """What a learner's file may be made from: an answer whose language has changed since is not out of date."""
    return {_in(code, checkout, kata, source) for code in LANGUAGES}


def _new_stub(checkout: Checkout, kata: str, published: bytes) -> bytes:
    """The kata's stub by its reference; as published while its author has left the reference broken."""
    try:
        return stub(checkout, kata).encode()
    except UserError:
        return published


def note_base(checkout: Checkout, kata: str, content: str | bytes) -> None:
    """Keeps the stub that the learner's file is now made from; where it is a translation, its English as well."""
    _note(base(checkout, kata), content)
    english = _new_stub(checkout, kata, b"")
    translated = _in(language(), checkout, kata, english)
    if content in (translated, translated.decode()) and translated != english:
        _note(_english_base(checkout, kata), english)
    else:
        with suppress(OSError):
            _english_base(checkout, kata).unlink(missing_ok=True)


def _note(file: Path, content: str | bytes) -> None:
    with suppress(UserError):  # where .dojo/ cannot be written: an update has to do without
        write(file, content)


def _read(file: Path) -> bytes | None:
    """The content of `file`; None if it is no file. Raises UserError if it may not be read."""
    try:
        return file.read_bytes() if file.is_file() else None
    except OSError as error:
        sentence = say(
            "{file} cannot be read: {error}. Mend its permissions and try again.", file=file, error=error.strerror
        )
        raise UserError(sentence) from error
