"""`kata init` and `kata update`: a workspace of one's own, and what is new for it or for a clone."""

import os
import subprocess
import sys
from pathlib import Path

import click

from dojo.core.language import say
from dojo.core.paths import find_checkout


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def init(folder: Path) -> None:
    """A folder of your own to work in, without a clone.

    FOLDER, or the current one, gets answers/ with the stubs, and what plain pytest needs. With --pack before `init`, its
    katas are those of that pack.
    """
    from dojo.practice.workspace import init

    checkout, written = init(folder, os.environ.get("KATA_PACK", ""))
    os.environ.pop("KATA_PACK", None)
    number = len([*checkout.answers.glob("*.py")])
    click.echo(say("Wrote answers/ with {number} stubs, {others}.", number=number, others=", ".join(written)))
    here = checkout.work == Path.cwd().resolve()
    command = "kata" if here else f"cd {folder} && kata"
    click.echo(say("Next: {command}", command=command))


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
    click.echo(say("Your answers fit their stubs."))
    if folder.exists():
        click.echo(say("Take it back: kata update --undo"))
