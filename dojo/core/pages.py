"""The pages that the trainer writes: everything from outside is escaped, and a name that is missing is an error."""

from typing import Any


def environment() -> Any:
    """jinja2's, which finds templates by their path in this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("dojo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
