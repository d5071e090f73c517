"""TODO: one line."""

import time
from contextlib import suppress

import click

from dojo.core.catalog import Catalog, Kata, load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout


def _find(name: str) -> tuple[Checkout, Catalog, Kata]:
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    return checkout, catalog, catalog[name]


def _say_due(checkout: Checkout, catalog: Catalog) -> None:
    from dojo.progress.schedule import due_now

    with suppress(UserError):
        if due := due_now(checkout, catalog, time.time()):
            click.echo(f"{len(due)} {'kata is' if len(due) == 1 else 'katas are'} due for repetition: kata due\n")


def _say_ratings(checkout: Checkout) -> None:
    """What the tests have just decided: rating, why, and when to solve it again."""
    from dojo.progress.schedule import describe_new_ratings

    with suppress(UserError):
        for sentence in describe_new_ratings(checkout, load_catalog(checkout), time.time()):
            click.echo(sentence)
