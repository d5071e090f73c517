"""What several commands share: finding a kata and a checkout, and the notices about repetition."""

import os
import time
from contextlib import suppress

import click

from dojo.core.answers import prepare
from dojo.core.catalog import Catalog, Kata, load_catalog
from dojo.core.errors import UserError
from dojo.core.language import say_number
from dojo.core.paths import Checkout, find_checkout, own_pack
from dojo.core.stubs import require_solutions


def find_practice() -> tuple[Checkout, Catalog]:
    """The checkout of the current folder, in which every kata has a file to write in, and its catalogue."""
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    for sentence in prepare(checkout):
        print_notice(sentence)
    return checkout, catalog


def find_kata(name: str) -> tuple[Checkout, Kata]:
    """The checkout of the current folder, and the kata that a person means by `name`. Raises UserError if there is none."""
    checkout, catalog = find_practice()
    return checkout, catalog.find(name)


def complete_kata(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The names of katas that begin with what was typed before the Tab key."""
    with suppress(UserError):
        return [kata.name for kata in load_catalog(find_checkout()).katas if kata.name.startswith(typed)]
    return []


def installed_checkout() -> Checkout:
    """The pack whose references grade: that of --pack, else the one that this program brings along.

    Never that of the current folder: it may be a submission, with references of its own.
    """
    own = own_pack()
    checkout = find_checkout() if os.environ.get("KATA_PACK") or not own else Checkout(own)
    require_solutions(checkout)
    if checkout.root != own:  # the variable may have been exported long ago
        print_notice(f"The references that grade are those of the pack {checkout.root}.")
    return checkout


def print_notice(sentence: str) -> None:
    """Prints what went wrong without stopping the command."""
    click.echo(sentence, err=True)


def planned_kata(checkout: Checkout, catalog: Catalog) -> Kata | None:
    """What the study plan, if there is one, has next that is not solved yet. A history that cannot be read is ignored."""
    from dojo.progress.plan import make_plan, read_goal

    with suppress(UserError):
        if goal := read_goal(checkout):
            ahead = make_plan(checkout, catalog, goal, time.time()).ahead
            return next((item.kata for _, item in ahead if not item.again), None)
    return None


def print_due(checkout: Checkout, catalog: Catalog) -> None:
    """Prints how many katas are due for repetition, if any. A history that cannot be read is ignored."""
    from dojo.progress.schedule import due_now

    with suppress(UserError):
        if due := due_now(checkout, catalog, time.time()):
            count = say_number(
                "{number} kata is due for repetition: kata due",
                "{number} katas are due for repetition: kata due",
                len(due),
            )
            click.echo(f"{count}\n")


def print_new_ratings(checkout: Checkout, catalog: Catalog | None = None) -> None:
    """Prints the ratings that the newest runs have decided. A history or catalogue that cannot be read is ignored."""
    from dojo.progress.schedule import describe_new_ratings

    with suppress(UserError):
        for sentence in describe_new_ratings(checkout, catalog or load_catalog(checkout), time.time()):
            click.echo(sentence)
