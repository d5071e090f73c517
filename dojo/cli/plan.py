"""`kata plan`: makes a study plan, and prints it as it stands today."""

import time
from datetime import date

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dojo.cli import tables
from dojo.core import humanize
from dojo.core.catalog import Catalog, load_catalog
from dojo.core.language import say, say_number
from dojo.core.paths import find_checkout
from dojo.progress.plan import DAYS, MINUTES, Goal, Item, Plan

SHOWN = 6  # of the katas that do not fit


@click.command()
@click.option("--role", help="What the interview is for: one of the catalogue's roles; every kata unless told.")
@click.option("--days", type=click.IntRange(1, 365), help=f"How many from today on; {DAYS} unless told.")
@click.option("--minutes", type=click.IntRange(10, 720), help=f"How many a day; {MINUTES} unless told.")
@click.option("--stop", is_flag=True, help="Follow no plan any more.")
def plan(role: str | None, days: int | None, minutes: int | None, stop: bool) -> None:
    """Which kata on which day until an interview.

    An option makes a new plan from today on; what it does not say stays as it was.
    """
    from dojo.progress import plan as plans

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    now = time.time()
    today = humanize.local(now).date()
    if stop:
        plans.drop_goal(checkout)
        click.echo(say("No plan is followed any more. A new one: kata plan --role ROLE --days N --minutes M"))
        return
    goal = plans.read_goal(checkout)
    if role is not None or days or minutes:
        goal = _changed(goal, today, role, days, minutes)
        made = plans.make_plan(checkout, catalog, goal, now)  # raises for an unknown role before it is stored
        plans.store_goal(checkout, goal)
    elif goal is None:
        _print_beginning(catalog)
        return
    else:
        made = plans.make_plan(checkout, catalog, goal, now)
    print_plan(tables.console(), made, today)


def _changed(goal: Goal | None, today: date, role: str | None, days: int | None, minutes: int | None) -> Goal:
    """The goal from today on, with what is not given as before; an end that has passed is no end."""
    remaining = (goal.last - today).days + 1 if goal else 0
    return Goal(
        role if role is not None else goal.role if goal else "",
        today,
        days or (remaining if remaining > 0 else DAYS),
        minutes or (goal.minutes if goal else MINUTES),
    )


def _print_beginning(catalog: Catalog) -> None:
    role = next(iter(catalog.roles), "")
    click.echo(
        say("There is no plan yet. It lays out which kata on which day, and follows what you really do. Make one:")
    )
    click.echo(f"  kata plan {f'--role {role} ' if role else ''}--days {DAYS} --minutes {MINUTES}")
    if catalog.roles:
        click.echo(say("Roles: {roles}. Without one: every kata.", roles=", ".join(catalog.roles)))


def print_plan(out: Console, plan: Plan, today: date) -> None:
    """Prints what is done, a line for each day from today on, what does not fit, and what to do next."""
    goal = plan.goal
    first, last = (humanize.date_in_words(day, today) for day in (goal.first, goal.last))
    role = goal.role or say("every kata")
    out.print(
        say_number(
            "[bold]{role}: {number} day of {minutes} minutes, {first} to {last}[/bold]",
            "[bold]{role}: {number} days of {minutes} minutes, {first} to {last}[/bold]",
            goal.days,
            role=role,
            minutes=goal.minutes,
            first=first,
            last=last,
        )
    )
    solved = say("{solved} of {total} katas solved", solved=plan.solved, total=plan.katas)
    if plan.worked_days:
        solved = say_number(
            "{solved}, {time} on {number} day of it",
            "{solved}, {time} on {number} days of it",
            plan.worked_days,
            solved=solved,
            time=humanize.minutes(plan.worked_s),
        )
    out.print(f"[dim]{solved}[/dim]\n")
    if not plan.days:
        out.print(say("It ended on {last}. A new one: kata plan --days {days}", last=last, days=DAYS))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    for day, items in plan.days.items():
        name = say("today") if day == today else humanize.date_in_words(day, today)
        minutes = sum(item.minutes for item in items)
        words = [_words(item) for item in items] or [Text(say("free"), "dim")]
        table.add_row(Text(name, "bold" if day == today else ""), f"{minutes}" if items else "", Text("  ").join(words))
    out.print(table)
    if plan.left_out:
        _print_left_out(out, plan)
    if not plan.ahead:
        out.print(say("\n[green]Nothing is left to do.[/green] Try the clock: kata drill"))
        return
    day, item = plan.ahead[0]
    command = f"kata {'again' if item.again else 'watch'} {item.kata.name}"
    if day == today:
        out.print(say("\nNext: {command}", command=command))
    else:
        out.print(say("\nToday is done. Next: {command}", command=command))


def _words(item: Item) -> Text:
    if item.done:
        return Text(f"✓ {item.kata.name}", "green")
    return Text.assemble((say("again "), "dim") if item.again else "", item.kata.name)


def _print_left_out(out: Console, plan: Plan) -> None:
    names = [kata.name for kata in plan.left_out]
    more = say(" and {number} more", number=len(names) - SHOWN) if len(names) > SHOWN else ""
    out.print(
        say_number(
            "\n[yellow]{number} kata does not fit[/yellow]: {names}{more}.",
            "\n[yellow]{number} katas do not fit[/yellow]: {names}{more}.",
            len(names),
            names=", ".join(names[:SHOWN]),
            more=more,
        )
    )
    if enough := plan.enough_minutes():
        out.print(say("{enough} minutes a day would do: kata plan --minutes {enough}", enough=enough))
