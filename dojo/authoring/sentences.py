"""The trainer's own sentences in another language: gettext's catalogues in dojo/locale/, kept up to date by Babel."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from dojo.authoring.translations import Coverage
from dojo.core.files import write
from dojo.core.language import LOCALE
from dojo.core.version import VERSION

KEYWORDS = {"say": None, "to_say": None, "say_number": (1, 2)}
HEAD = "# The trainer's own sentences. `kata dev translate trainer` adds what is missing, and compiles them."
METHODS = [("tests/**", "ignore"), ("**.py", "python"), ("**.html.jinja", "jinja2.ext:babel_extract")]
DATES = (
    '"POT-Creation-Date',
    '"PO-Revision-Date',
    '"Last-Translator',
    '"Language-Team',
    '"Generated-By',
    '"Report-Msgid',
)


def file_of(code: str) -> Path:
    """The catalogue of the language `code`, in which one translates. Beside it is the compiled one, which is read."""
    return LOCALE / code / "LC_MESSAGES" / "dojo.po"


def brought_up_to_date(code: str, help_texts: Iterable[str]) -> Catalog:
    """The catalogue of `code` with every sentence that the trainer has now. What only looks alike is marked as fuzzy."""
    template = Catalog(fuzzy=False, project="katas", version=VERSION)
    for _, _, message, _, context in extract_from_dir(LOCALE.parent, METHODS, keywords=KEYWORDS):
        template.add(message, context=context)
    for text in help_texts:
        template.add(text)
    catalog = read(code)
    catalog.update(template)
    for key in [key for key, message in catalog.obsolete.items() if not any(message.string or ())]:
        del catalog.obsolete[key]  # nobody had translated it
    return catalog


def read(code: str) -> Catalog:
    """The catalogue of `code` as it is; an empty one if there is none."""
    file = file_of(code)
    if not file.is_file():
        return Catalog(locale=code, project="katas", version=VERSION, fuzzy=False, header_comment=HEAD)
    return read_po(io.BytesIO(file.read_bytes()), locale=code)


def update(code: str, help_texts: Iterable[str]) -> list[Path]:
    """Writes the catalogue of `code` with all sentences, and its compiled form."""
    file = file_of(code)
    write(file, text_of(brought_up_to_date(code, help_texts)))
    write(file.with_suffix(".mo"), compiled(read(code)))
    return [file, file.with_suffix(".mo")]


def text_of(catalog: Catalog) -> bytes:
    """`catalog` as a file to translate in, without dates and line numbers, which would change with every commit."""
    out = io.BytesIO()
    write_po(out, catalog, omit_header=False, no_location=True, width=120, sort_output=True)
    kept = [line for line in out.getvalue().decode().splitlines() if not line.startswith(DATES)]
    return ("\n".join(kept) + "\n").encode()


def compiled(catalog: Catalog) -> bytes:
    """`catalog` as gettext reads it."""
    catalog.creation_date = catalog.revision_date = datetime.fromtimestamp(0, UTC)  # the same bytes every time
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def coverage(code: str, help_texts: Iterable[str]) -> Coverage:
    """How much of the trainer is translated into `code`; `older` counts what only looks alike, too."""
    catalog = brought_up_to_date(code, help_texts)
    messages = [message for message in catalog if message.id]
    fuzzy = sum(message.fuzzy for message in messages)
    done = sum(all(message.string or [""]) and not message.fuzzy for message in messages)
    return Coverage("the trainer", len(messages), done, len(catalog.obsolete) + fuzzy)
