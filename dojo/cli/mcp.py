"""`kata mcp`: what an assistant starts to tutor with."""

import importlib.util
import json
import sys

import click

from dojo.core.errors import UserError


@click.command()
def mcp() -> None:
    """Serve an assistant that tutors you.

    It can list and show katas, run your tests, take the next hint and read your history, over the Model Context Protocol on stdin
    and stdout. Solutions keep their gate.
    """
    if importlib.util.find_spec("mcp") is None:
        raise UserError("The tutor needs the mcp package: pip install -e '.[tutor]'")
    from dojo.core.paths import find_checkout
    from dojo.tutor.server import serve

    if sys.stdin.isatty():
        start = {"command": sys.executable, "args": ["-m", "dojo.cli", "mcp"], "cwd": str(find_checkout().work)}
        click.echo("An assistant starts this command by itself. Give its configuration this server:", err=True)
        click.echo(f"  {json.dumps({'mcpServers': {'katas': start}})}\nTo end it here: Ctrl-D", err=True)
    serve()
