"""HTML of what a learner sees, for a notebook and for the browser; every value is escaped."""

from dojo.core.pages import environment
from dojo.practice.formulas import typeset


def render(template: str, **values: object) -> str:
    """The HTML of a template, by its path in this package without `.html.jinja`. `typeset` sets the formulas in a text."""
    pages = environment()
    pages.filters["typeset"] = typeset
    return pages.get_template(f"{template}.html.jinja").render(**values)
