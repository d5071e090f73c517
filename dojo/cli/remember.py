"""The commands of the section Remember: what to repeat, and what was done so far."""

import time
from pathlib import Path

import click

from dojo.cli import tables
from dojo.cli.common import complete_kata, find_kata, print_notice
from dojo.core.catalog import load_catalog
from dojo.core.language import say
from dojo.core.paths import find_checkout
from dojo.practice import actions


@click.command()
def due() -> None:
    """What to solve again, overdue first.

    And what comes in the next days.
    """
    from dojo.cli import history_pages
    from dojo.progress.schedule import due_dates

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    scheduled = due_dates(checkout, catalog)
    names = {item.kata.name for item in scheduled}
    untried = next((kata for kata in catalog.katas if kata.name not in names), None)
    history_pages.due_page(tables.console(), scheduled, time.time(), untried)


@click.command()
@click.argument("name", shell_complete=complete_kata)
def again(name: str) -> None:
    """Solve NAME again, from the stub.

    Your last attempt goes to .dojo/archive/.
    """
    checkout, kata = find_kata(name)
    copy = actions.reset(checkout, kata, print_notice, copies="archive")
    file = checkout.shown(checkout.answer(kata.name))
    if copy:
        click.echo(say("Your last attempt is in {copy}.", copy=checkout.shown(copy)))
    else:
        click.echo(say("There was no attempt to put aside."))
    click.echo(
        say("{file} is the stub again; the clock starts now. From memory: kata watch {name}", file=file, name=kata.name)
    )


@click.command("history")
@click.argument("name", metavar="[KATA]", required=False, shell_complete=complete_kata)
@click.option("--all", "every", is_flag=True, help="Every attempt, not only the newest 20.")
def show_history(name: str | None, every: bool) -> None:
    """Your attempts, newest first.

    With KATA, each run of that one.
    """
    from dojo.cli import history_pages
    from dojo.progress.attempts import read_attempts
    from dojo.progress.schedule import due_dates, read_reviews

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    kata = catalog.find(name) if name else None
    attempts = read_attempts(checkout, kata.name if kata else None)
    reviews = read_reviews(checkout, catalog)
    now = time.time()
    if kata is None:
        history_pages.history_page(tables.console(), attempts, reviews, now, limit=None if every else 20)
    else:
        next_time = next((item for item in due_dates(checkout, catalog) if item.kata is kata), None)
        history_pages.kata_history(tables.console(), kata, attempts, reviews, next_time, now)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where; .dojo/report.html unless told."
)
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def report(output: Path | None, opened: bool) -> None:
    """Your practice in pictures.

    One HTML file that needs no network.
    """
    from dojo.progress.report import write_report

    checkout = find_checkout()
    file = write_report(checkout, load_catalog(checkout), time.time(), output)
    click.echo(say("Written: {file}", file=checkout.shown(file)))
    if not opened:
        click.echo(say("To look at it: kata report --open"))
    elif click.launch(file.as_uri()) != 0:
        click.echo(say("No browser could be started here. Open this in one: {file}", file=file.as_uri()))
