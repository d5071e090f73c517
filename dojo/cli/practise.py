"""The commands of the section Practise, from `kata list` to `kata reset`."""

import os
import subprocess
import sys
from dataclasses import replace

import click

from dojo.cli import tables
from dojo.cli.common import (
    complete_kata,
    find_kata,
    find_practice,
    planned_kata,
    print_due,
    print_new_ratings,
    print_notice,
)
from dojo.core import wide
from dojo.core.catalog import ASKED, load_catalog
from dojo.core.language import say
from dojo.core.paths import Checkout, find_checkout
from dojo.practice import actions
from dojo.progress.standing import progress_or_not_started, standing_of


@click.command("list")
@click.option(
    "--long", is_flag=True, help="A line for each: level, minutes, how often it is asked, stages and tests that pass."
)
@click.option("--role", help="Only what interviews for this role ask.")
@click.option("--track", help="Only this track.")
@click.option("--asked", type=click.Choice(ASKED), help="Only what interviews ask so often.")
@click.option("--unsolved", is_flag=True, help="Only what is not solved yet.")
def list_katas(
    long: bool = False,
    role: str | None = None,
    track: str | None = None,
    asked: str | None = None,
    unsolved: bool = False,
) -> None:
    """All katas, how far you are, and what to do next."""
    checkout, catalog = find_practice()
    listed = catalog.only(role=role, track=track, asked=asked)
    standing = standing_of(checkout, listed.katas, print_notice)
    if unsolved:
        listed = replace(listed, katas=tuple(k for k in listed.katas if standing[k.name].state != "solved"))
    if not listed.katas:
        click.echo(say("No kata is like that. All of them: kata list"))
        return
    out = tables.console()
    (tables.long_list if long else tables.short_list)(out, listed, standing)
    print_due(checkout, catalog)
    tables.next_step(out, checkout, listed, standing, planned_kata(checkout, catalog))


@click.command()
@click.argument("name", shell_complete=complete_kata)
def show(name: str) -> None:
    """One kata: question, rules, stages, minutes and file."""
    checkout, kata = find_kata(name)
    rules = actions.rules(checkout, kata)
    tables.kata_page(tables.console(), checkout, kata, rules, progress_or_not_started(checkout, kata.name))
    actions.record_reading(checkout, kata, print_notice)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--stage", type=click.IntRange(1, 4), help="Only stages 1 to N.")
@click.argument("name", required=False, shell_complete=complete_kata)
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(ctx: click.Context, name: str | None, stage: int | None, pytest_args: tuple[str, ...]) -> None:
    """Run the tests of NAME (or of every kata). What follows NAME goes on to pytest."""
    checkout = find_checkout()
    arguments = list(pytest_args)
    if name and name.startswith("-"):
        arguments.insert(0, name)
        name = None
    catalog = None
    if name:
        catalog = load_catalog(checkout)
        name = catalog.find(name).name
    if name or checkout.workspace:
        arguments.insert(0, _tests_argument(checkout, name or ""))
    if stage:
        arguments.append(f"--stage={stage}")
    code = _run_pytest(checkout, arguments)
    if name and code == 0:
        progress = progress_or_not_started(checkout, name)
        if progress.passes and not progress.changed:
            click.echo(
                say(
                    "\nSolved. Compare: kata solution {name}    What an interviewer asks next: kata follow-ups {name}",
                    name=name,
                )
            )
    print_new_ratings(checkout, catalog)
    ctx.exit(code)


def _tests_argument(checkout: Checkout, name: str) -> str:
    return str(checkout.tests(name)) if checkout.workspace else checkout.tests_argument(name)


def _run_pytest(checkout: Checkout, arguments: list[str]) -> int:
    """Runs pytest, which has the terminal; returns its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "KATA_WORKSPACE"}
    own_folder = []
    if checkout.workspace:
        environment["KATA_WORKSPACE"] = str(checkout.workspace)
        own_folder = ["-o", f"cache_dir={checkout.workspace / '.pytest_cache'}"]  # the pack may be everybody's
    if environment.get("KATAS_DIR"):
        environment["KATAS_DIR"] = os.path.abspath(environment["KATAS_DIR"])
    command = [sys.executable, "-m", "pytest", "-q", "-pdojo.engine.plugin", f"--rootdir={checkout.root}"]
    process = subprocess.Popen([*command, *own_folder, *arguments], cwd=checkout.work, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # pytest receives it as well, ends and prints why
            continue


@click.command()
@click.argument("name", shell_complete=complete_kata)
@click.argument("test", required=False, default="")
@click.option("--kata-seed", type=int, default=0, show_default=True, help="The seed of the test's inputs.")
@click.option("--every-call", is_flag=True, help="All calls, however long the page becomes.")
@click.pass_context
def debug(ctx: click.Context, name: str, test: str, kata_seed: int, every_call: bool) -> None:
    """What a failing test gave to your code, and got.

    TEST is a part of the test's name; without it, the first test that fails is shown.
    """
    checkout = find_checkout()
    name = load_catalog(checkout).find(name).name
    arguments = [_tests_argument(checkout, name), "-p", "dojo.engine.debugging", f"--debug-test={test}"]
    arguments += ["--every-call"] if every_call else []
    ctx.exit(
        _run_pytest(checkout, [*arguments, f"--kata-seed={kata_seed}", "--no-naming", "--no-history", "--no-header"])
    )


@click.command()
@click.argument("name", required=False, shell_complete=complete_kata)
@click.option("--edit", is_flag=True, help="Open the file in $EDITOR at once.")
def watch(name: str | None, edit: bool) -> None:
    """On every save a verdict, on one screen. Goes on where you were."""
    from dojo.practice.interview import start_drill
    from dojo.practice.start_page import NOT_BEGUN
    from dojo.practice.terminal import Terminal
    from dojo.practice.watch.app import WatchApp, first_kata

    checkout, catalog = find_practice()
    kata = catalog.find(name or first_kata(checkout, catalog)).name
    page = [say(NOT_BEGUN)]
    while page == [say(NOT_BEGUN)]:  # a drill that was not begun leads back
        with Terminal("kata watch") as terminal:
            kata = WatchApp(checkout, catalog, kata, terminal, edit=edit).run()
        page = start_drill(checkout, catalog, kata, None, None) if kata else []
        edit = False
    for line in page:
        click.echo(line)


@click.command()
@click.argument("name", shell_complete=complete_kata)
@click.option("--rung", type=click.IntRange(1), default=1, help="At least this one, if hints cannot be recorded.")
def hint(name: str, rung: int) -> None:
    """The next hint, one rung at a time. Hints are recorded."""
    checkout, kata = find_kata(name)
    notices: list[str] = []
    rung, text = actions.next_hint(checkout, kata, notices.append, after=rung - 1)
    for notice in notices:
        print_notice(notice)
    out = tables.console()
    out.print(say("[bold]Hint {rung} of {total}[/bold]", rung=rung, total=len(kata.hints)))
    out.print(wide.fill(text, out.width), markup=False)
    if rung == len(kata.hints):
        out.print(say("\nThat was the last one. The answer: kata solution {name} --give-up", name=kata.name))
    elif notices:
        out.print(say("\nThe next one: kata hint {name} --rung {rung}", name=kata.name, rung=rung + 1))
    else:
        out.print(say("\nThe next one: the same command."))


@click.command()
@click.argument("name", shell_complete=complete_kata)
@click.option("--give-up", is_flag=True, help="Show it although the tests do not pass yet; recorded.")
def solution(name: str, give_up: bool) -> None:
    """The reference, once you have solved the kata."""
    checkout, kata = find_kata(name)
    text = actions.solution(checkout, kata, print_notice, give_up=give_up)
    out = tables.console()
    if out.is_terminal:
        from rich.syntax import Syntax

        out.print(Syntax(text, "python", background_color="default"))
    else:
        click.echo(text, nl=False)
    tables.follow_ups(out, kata)


@click.command("follow-ups")
@click.argument("name", shell_complete=complete_kata)
def follow_ups(name: str) -> None:
    """What an interviewer asks next, with model answers. Answer aloud first."""
    _, kata = find_kata(name)
    tables.follow_ups(tables.console(), kata)


@click.command()
@click.argument("name", shell_complete=complete_kata)
def reset(name: str) -> None:
    """Start NAME afresh. What you wrote is copied to .dojo/backups/ first."""
    checkout, kata = find_kata(name)
    copy = actions.reset(checkout, kata, print_notice)
    file = checkout.shown(checkout.answer(kata.name))
    click.echo(
        say("{file} is the stub again. What you wrote is in {copy}.", file=file, copy=checkout.shown(copy))
        if copy
        else say("{file} is the stub again.", file=file)
    )
