"""TODO: one line."""

from typing import TYPE_CHECKING

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.runs import Progress

if TYPE_CHECKING:
    pass


MARKS = {"solved": ("✓", "green"), "started": ("◐", "yellow"), "not started": ("·", "dim")}


def where(kata: Kata, progress: Progress) -> str:
    """Where someone stands with one kata, in a few words."""
    changed = ", file changed since" if progress.changed else ""
    if progress.state == "solved":
        return f"solved{changed}"
    if progress.state == "not started":
        return "not started"
    stages = "".join("■" if n in progress.stages else "□" for n in range(1, len(kata.stages) + 1))
    return f"{stages} {progress.passed} of {progress.total} tests{changed}"


def progress(checkout: Checkout, name: str) -> Progress:
    try:
        return runs.progress(checkout, name)
    except UserError:
        return Progress("not started")
