"""The one Jinja set-up, for the HTML pages that the trainer writes (a learner's report, the report of a class)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> "Environment":
    """A Jinja environment that finds templates by their path in this package.

    It escapes every value, because names and messages come from submissions. A missing name raises an exception.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("dojo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
