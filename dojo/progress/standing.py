"""Shows the progress at one kata as a mark and a few words, for the list and the pages of the terminal."""

from collections.abc import Callable, Iterable

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.runs import Progress

MARKS = {  # state -> (mark, style)
    to_say("solved"): ("✓", "green"),
    to_say("started"): ("◐", "yellow"),
    to_say("not started"): ("·", "dim"),
}


def describe_progress(kata: Kata, progress: Progress) -> str:
    """The state of the kata, and, unless all tests of its file pass, its stages and passing tests.

    A filled square is a stage that passes.
    """
    changed = say(", file changed since") if progress.changed else ""
    stages = "".join("■" if n in progress.stages else "□" for n in range(1, len(kata.stages) + 1))
    figures = say(
        "{stages} {passed} of {total} tests{changed}",
        stages=stages,
        passed=progress.passed,
        total=progress.total,
        changed=changed,
    )
    if progress.state == "started":
        return figures
    if progress.state == "not started":
        return say("not started")
    return (
        say("solved{changed}", changed=changed)
        if progress.passes or not progress.total
        else say("solved; now {figures}", figures=figures)
    )


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
