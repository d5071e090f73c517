"""TODO: one line."""

import time
from contextlib import suppress

import click

from dojo.core.catalog import Catalog, Kata, load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.progress import runs
from dojo.progress.runs import Progress


def _find(name: str) -> tuple[Checkout, Catalog, Kata]:
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    return checkout, catalog, catalog[name]


def print_notice(sentence: str) -> None:
    """Prints what went wrong without stopping the command."""
    click.echo(sentence, err=True)


def _say_due(checkout: Checkout, catalog: Catalog) -> None:
    from dojo.progress import schedule

    with suppress(UserError):
        if due := schedule.due_now(checkout, catalog, time.time()):
            click.echo(f"{len(due)} {'kata is' if len(due) == 1 else 'katas are'} due for repetition: kata due\n")


def _say_ratings(checkout: Checkout) -> None:
    """What the tests have just decided: rating, why, and when to solve it again."""
    from dojo.progress import schedule

    with suppress(UserError):
        for sentence in schedule.news(checkout, load_catalog(checkout), time.time()):
            click.echo(sentence)


def _progress(checkout: Checkout, name: str) -> Progress:
    try:
        return runs.progress(checkout, name)
    except UserError:
        return Progress("not started")
