"""`kata report`: one self-contained HTML page. `data` asks the history, `draw` makes pictures, the template sets them."""

from pathlib import Path

from markupsafe import Markup, escape

from dojo.core import humanize
from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.pages import environment
from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt
from dojo.progress.report import svg
from dojo.progress.report.data import Page, gather

MARK = '<meta name="generator" content="kata report">'


def write_report(checkout: Checkout, catalog: Catalog, now: float, output: Path | None = None) -> Path:
    """Writes the page and returns its path. A file that is no report is never overwritten."""
    file = (output or checkout.state / "report.html").absolute()
    if file.exists() and MARK not in _beginning(file):
        raise UserError(f"{file} is there already and is no report; choose another name: kata report -o FILE")
    if not file.parent.is_dir() and output is not None:
        raise UserError(f"There is no folder {file.parent}; make it, or choose another: kata report -o FILE")
    page = render_page(gather(checkout, catalog, now))
    file.parent.mkdir(exist_ok=True)
    write(file, page)
    return file


def render_page(page: Page) -> str:
    """The page as HTML; names and sentences from outside are escaped by the template."""
    pages = environment()
    pages.filters.update(
        minutes=humanize.minutes, day=lambda at: humanize.day(at, page.now), clock=humanize.clock, breakable=_breakable
    )
    span = svg.Span(page.attempts, page.now)
    longest = max((seconds for p in page.practised for a in p.timed for seconds in a.stages.values()), default=0.0)
    longest = 1.02 * max([longest, *(60.0 * p.minutes for p in page.practised if p.timed)], default=1.0)
    return pages.get_template("progress/report/page.html.jinja").render(
        page=page,
        draw=svg,
        humanize=humanize,
        span=span,
        longest=longest,
        mark=MARK,
        rated=lambda attempt: _rated(page, attempt),
    )


def _rated(page: Page, attempt: Attempt) -> str:
    review = page.reviews.get((attempt.kata, attempt.judged)) if attempt.judged is not None else None
    return review.word if review else ""


def _breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, for narrow columns."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _beginning(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            return text.read(2000)
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}); choose another name: kata report -o FILE"
        ) from error
