"""The one Jinja set-up, for the HTML pages that the trainer writes (a learner's report, the report of a class)."""

from typing import TYPE_CHECKING

from dojo.core.language import language, translated, translated_number
from dojo.core.outcome import explains

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def environment() -> "Environment":
    """A Jinja environment that finds templates by their path in this package.

    It escapes every value, because names and messages come from submissions. A missing name raises an exception.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("dojo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(say=say_html, say_number=say_number_html, code=code, language=language, explains=explains)
    return pages


def say_html(text: str, /, **values: object) -> "Markup":
    """As `say`, of a sentence of the trainer's own, which is HTML; the values are escaped."""
    from markupsafe import Markup

    return Markup(translated(text)).format(**values)


def say_number_html(one: str, several: str, number: int, /, **values: object) -> "Markup":
    """As `say_number`; the values are escaped."""
    from markupsafe import Markup

    return Markup(translated_number(one, several, number)).format(number=number, **values)


def code(text: str) -> "Markup":
    """`text`, escaped, as code in a sentence."""
    from markupsafe import Markup

    return Markup("<code>{}</code>").format(text)
