"""`kata mcp`: what an assistant starts to tutor with."""

import json
import sys

import click

from dojo.core.errors import UserError
from dojo.core.paths import find_checkout


@click.command()
def mcp() -> None:
    """Serve an assistant that tutors you.

    It can list and show katas, run your tests, take the next hint and read your history, over the Model Context Protocol on stdin
    and stdout. Solutions keep their gate.
    """
    try:
        from dojo.tutor.server import serve
    except ImportError as error:  # it is not there, or too old
        raise UserError(
            f"The tutor needs the mcp package, 2.0 or newer ({error}): pip install -e '.[tutor]'"
        ) from error
    if sys.stdin.isatty():
        start = {"command": sys.executable, "args": ["-m", "dojo.cli", "mcp"], "cwd": str(find_checkout().work)}
        click.echo("An assistant starts this command by itself. Give its configuration this server:", err=True)
        click.echo(f"  {json.dumps({'mcpServers': {'katas': start}})}\nTo end it here: Ctrl-D", err=True)
    serve()
