"""`kata update` and `kata init`: a clone or a workspace, and what is new for it."""

import subprocess
import sys

import click

from dojo.core.paths import find_checkout


@click.command()
@click.option("--undo", "undoes", is_flag=True, help="Take the last update back.")
@click.option("--no-pull", is_flag=True, help="Leave the commit as it is, and only look for stubs that have changed.")
@click.option("--record", default="", hidden=True)
@click.pass_context
def update(ctx: click.Context, undoes: bool, no_pull: bool, record: str) -> None:
    """Newer katas; your answers stay.

    In a clone, the newest commit is pulled. A stub that has changed under an answer is shown, and merged into it.
    """
    from dojo.practice import update

    checkout = find_checkout()
    folder = update.new_record(checkout, record)
    pulls = update.is_clone(checkout) and not no_pull
    steps = update.undo(checkout) if undoes else (update.pull if pulls else update.bring_up)(checkout, folder)
    for sentence in steps:
        click.echo(sentence)
    if undoes:
        return
    if pulls:  # what was pulled may know more than this process about merging
        command = [sys.executable, "-m", "dojo.cli", "update", "--no-pull", f"--record={folder.name}"]
        ctx.exit(subprocess.run(command, check=False).returncode)
    click.echo("Your answers fit their stubs." + (" Take it back: kata update --undo" if folder.exists() else ""))
