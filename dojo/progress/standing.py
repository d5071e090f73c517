"""Shows the progress at one kata as a mark and a few words, for the list and the pages of the terminal."""

from collections.abc import Callable, Iterable

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.runs import Progress

MARKS = {"solved": ("✓", "green"), "started": ("◐", "yellow"), "not started": ("·", "dim")}  # state -> (mark, style)


def describe_progress(kata: Kata, progress: Progress) -> str:
    """The state of the kata, and, unless all tests of its file pass, its stages and passing tests.

    A filled square is a stage that passes.
    """
    changed = ", file changed since" if progress.changed else ""
    stages = "".join("■" if n in progress.stages else "□" for n in range(1, len(kata.stages) + 1))
    figures = f"{stages} {progress.passed} of {progress.total} tests{changed}"
    if progress.state == "started":
        return figures
    if progress.state == "not started":
        return "not started"
    return f"solved{changed}" if progress.passes or not progress.total else f"solved; now {figures}"


def standing_of(checkout: Checkout, katas: Iterable[Kata], notify: Callable[[str], object]) -> dict[str, Progress]:
    """The progress at each kata. If the history cannot be read, `notify` gets its sentence, and all are "not started"."""
    katas = tuple(katas)
    try:
        return {kata.name: runs.progress(checkout, kata.name) for kata in katas}
    except UserError as error:
        notify(str(error))
        return {kata.name: Progress("not started") for kata in katas}


def progress_or_not_started(checkout: Checkout, name: str) -> Progress:
    """The progress at the kata; "not started" if the history cannot be read, so that commands work without it."""
    try:
        return runs.progress(checkout, name)
    except UserError:
        return Progress("not started")


def solved_in_this_try(checkout: Checkout, name: str) -> bool:
    """Whether the kata was solved since its stub was last restored; False if the history cannot be read."""
    try:
        return runs.ever_solved(checkout, name, since_reset=True)
    except UserError:
        return False
