"""`kata room`: the practice as pages of a browser."""

from pathlib import Path

import click

from dojo.cli.common import complete_kata, find_practice
from dojo.core.errors import UserError
from dojo.core.language import say, to_say

ONLY_HERE = to_say("Only this machine can reach it")
PUBLISHED = to_say("Whoever can reach this container can knock; publish the port on 127.0.0.1 only")
CONTAINERS = ("/.dockerenv", "/run/.containerenv")


@click.command()
@click.argument("name", required=False, default="", shell_complete=complete_kata)
@click.option("--port", type=click.IntRange(1024, 65535), help="This one, and no other.")
@click.option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@click.option("--container", is_flag=True, help="Inside a container: be reachable through its published port.")
def room(name: str, port: int | None, no_open: bool, container: bool) -> None:
    """The interview in a browser.

    Question, editor, verdict and clock on one page of this machine. Ctrl-C ends it.
    """
    try:
        import nicegui  # noqa: F401
    except ImportError as error:
        raise UserError(say("The room needs NiceGUI: pip install -e '.[room]'")) from error
    if container and not any(Path(file).exists() for file in CONTAINERS):
        raise UserError(say("This is no container, so nobody else is let in: kata room"))
    checkout, catalog = find_practice()
    kata = catalog.find(name).name if name else ""

    from dojo.room.guard import read_secret
    from dojo.room.server import address, free_port, serve
    from dojo.room.state import Room

    port, secret = free_port(port), read_secret(checkout)
    who = say(PUBLISHED if container else ONLY_HERE)
    where = address(port, secret, kata)
    click.echo(say("The room is at {address}\n{who}. To end it: Ctrl-C", address=where, who=who))
    serve(Room.opened(checkout, catalog), port, secret, kata, show=not no_open, everywhere=container)
