"""`kata report`: one self-contained HTML page. `data` computes its values, `svg` draws its pictures, a template renders it."""

from pathlib import Path

from markupsafe import Markup, escape

from dojo.core import humanize
from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.language import say
from dojo.core.pages import environment
from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt
from dojo.progress.report import svg
from dojo.progress.report.data import Page, gather

MARK = '<meta name="generator" content="kata report">'  # a file that has this may be overwritten
MARK_WITHIN_CHARS = 2000


def write_report(checkout: Checkout, catalog: Catalog, now: float, output: Path | None = None) -> Path:
    """Writes the report (default: .dojo/report.html) and returns its path. Never overwrites a file that is no report."""
    file = (output or checkout.state / "report.html").absolute()
    if file.exists() and MARK not in _beginning(file):
        raise UserError(
            say("{file} is there already and is no report; choose another name: kata report -o FILE", file=file)
        )
    if not file.parent.is_dir() and output is not None:
        raise UserError(
            say("There is no folder {folder}; make it, or choose another: kata report -o FILE", folder=file.parent)
        )
    page = render_page(gather(checkout, catalog, now))
    write(file, page)
    return file


def render_page(page: Page) -> str:
    """The report as HTML."""
    templates = environment()
    templates.filters.update(
        minutes=humanize.minutes, day=lambda at: humanize.day(at, page.now), clock=humanize.clock, breakable=_breakable
    )
    span = svg.Span(page.attempts, page.now)
    timed = [practised for practised in page.practised if practised.timed]
    stage_seconds = [s for practised in timed for attempt in practised.timed for s in attempt.stages.values()]
    longest = 1.02 * max([0.0, *stage_seconds, *(60.0 * practised.minutes for practised in timed)])
    return templates.get_template("progress/report/page.html.jinja").render(
        page=page,
        draw=svg,
        humanize=humanize,
        today=humanize.local(page.now).date(),
        span=span,
        longest=longest,
        mark=MARK,
        rated=lambda attempt: _rated(page, attempt),
    )


def _rated(page: Page, attempt: Attempt) -> str:
    """The rating of the attempt as a word; "" if it has none."""
    review = page.reviews.get((attempt.kata, attempt.judged)) if attempt.judged is not None else None
    return review.word if review else ""


def _breakable(name: str) -> Markup:
    """The name as HTML that may be broken after its underscores, for narrow columns."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _beginning(file: Path) -> str:
    """The first characters of the file."""
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            return text.read(MARK_WITHIN_CHARS)
    except OSError as error:
        raise UserError(
            say(
                "{file} cannot be read ({error}); choose another name: kata report -o FILE",
                file=file,
                error=error.strerror,
            )
        ) from error
