"""TODO: one line."""

import os
import subprocess
import sys

import click

from dojo.cli import tables
from dojo.cli.common import _find, _say_due, _say_ratings
from dojo.cli.interview import drill
from dojo.core.catalog import load_catalog
from dojo.core.paths import find_checkout
from dojo.practice import actions
from dojo.progress.runs import Progress
from dojo.progress.standing import progress_or_not_started


@click.command("list")
def list_katas() -> None:
    """All katas, how far you are, and what to do next."""
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    standing = {kata.name: progress_or_not_started(checkout, kata.name) for kata in catalog.katas}
    out = tables.console()
    tables.katas_table(out, catalog, standing)
    _say_due(checkout, catalog)
    tables.next_step(out, checkout, catalog, standing)


@click.command()
@click.argument("name")
def show(name: str) -> None:
    """The question, rules, stages, minutes and file of one kata."""
    checkout, _, kata = _find(name)
    rules = actions.rules(checkout, kata)
    tables.kata_page(tables.console(), checkout, kata, rules, progress_or_not_started(checkout, kata.name))
    actions.look(checkout, kata)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--stage", type=click.IntRange(1, 4), help="Only stages 1 to N.")
@click.argument("name", required=False)
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(ctx: click.Context, name: str | None, stage: int | None, pytest_args: tuple[str, ...]) -> None:
    """Run the tests of NAME (or of every kata). What follows NAME goes on to pytest."""
    checkout = find_checkout()
    arguments = list(pytest_args)
    if name and name.startswith("-"):
        arguments.insert(0, name)
        name = None
    if name:
        kata = load_catalog(checkout)[name]
        arguments.insert(0, str(checkout.tests(kata.name)))
    if stage:
        arguments.append(f"--stage={stage}")
    environment = {**os.environ, "KATAS_DIR": os.path.abspath(os.environ.get("KATAS_DIR") or checkout.katas)}
    process = subprocess.Popen([sys.executable, "-m", "pytest", "-q", *arguments], cwd=checkout.root, env=environment)
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # pytest got it too, and says so
            continue
    standing = progress_or_not_started(checkout, name) if name and code == 0 else Progress("not started")
    if standing.state == "solved" and not standing.changed:
        click.echo(f"\nSolved. Compare: kata solution {name}    What an interviewer asks next: kata follow-ups {name}")
    _say_ratings(checkout)
    ctx.exit(code)


@click.command()
@click.argument("name", required=False)
@click.option("--edit", is_flag=True, help="Open the file in $EDITOR at once.")
@click.pass_context
def watch(ctx: click.Context, name: str | None, edit: bool) -> None:
    """On every save a verdict, on one screen. Goes on where you were."""
    from dojo.practice.terminal import Terminal
    from dojo.practice.watch.app import App, first_kata

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    kata = catalog[name or first_kata(checkout, catalog)]
    with Terminal("kata watch") as terminal:
        to_drill = App(checkout, catalog, kata.name, terminal, edit=edit).run()
    if to_drill:
        ctx.invoke(drill, name=to_drill)


@click.command()
@click.argument("name")
def hint(name: str) -> None:
    """The next hint, one rung at a time. Hints are recorded."""
    checkout, _, kata = _find(name)
    rung, text = actions.next_hint(checkout, kata)
    out = tables.console()
    out.print(f"[bold]Hint {rung} of {len(kata.hints)}[/bold]")
    out.print(text, markup=False)
    out.print(
        "\nThe next one: the same command."
        if rung < len(kata.hints)
        else f"\nThat was the last one. The answer: kata solution {kata.name} --give-up"
    )


@click.command()
@click.argument("name")
@click.option("--give-up", is_flag=True, help="Show it although the tests do not pass yet; recorded.")
def solution(name: str, give_up: bool) -> None:
    """The reference solution, once you have solved the kata."""
    checkout, _, kata = _find(name)
    text = actions.solution(checkout, kata, give_up=give_up)
    out = tables.console()
    if out.is_terminal:
        from rich.syntax import Syntax

        out.print(Syntax(text, "python", background_color="default"))
    else:
        click.echo(text, nl=False)
    tables.follow_ups(out, kata)


@click.command("follow-ups")
@click.argument("name")
def follow_ups(name: str) -> None:
    """What an interviewer asks next, with model answers. Answer aloud first."""
    _, _, kata = _find(name)
    tables.follow_ups(tables.console(), kata)


@click.command()
@click.argument("name")
def reset(name: str) -> None:
    """Start NAME afresh. What you wrote is copied to .dojo/backups/ first."""
    checkout, _, kata = _find(name)
    copy = actions.reset(checkout, kata)
    file = checkout.shown(checkout.stub(kata.name))
    click.echo(f"{file} is the stub again." + (f" What you wrote is in {checkout.shown(copy)}." if copy else ""))
