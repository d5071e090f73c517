"""The commands of the section Interview: a timed drill and a debugging round."""

import click

from dojo.cli.common import complete_kata
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.paths import find_checkout


@click.command()
@click.argument("name", metavar="[KATA]", required=False, shell_complete=complete_kata)
@click.option("--track", help="Any kata of this track, the one drilled least recently.")
@click.option("--minutes", type=click.FloatRange(1), help="How long; also: any kata that fits.")
@click.option("--mock", is_flag=True, help="A whole round in 60 minutes: a warm-up, a core kata and a bug hunt.")
@click.option("--role", type=click.Choice(["llm"]), help="With --mock, the round that this role is asked.")
@click.option("--resume", is_flag=True, help="Go on with the drill that was left or killed.")
def drill(
    name: str | None = None,
    track: str | None = None,
    minutes: float | None = None,
    mock: bool = False,
    role: str | None = None,
    resume: bool = False,
) -> None:
    """A timed interview on a fresh copy of the stub.

    Stages open one after another, hints cost points, follow-up questions come at the end, and then one page.
    """
    from dojo.practice import interview

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    if role and (track or not mock):
        raise UserError(say("--role is a round of its own: kata drill --mock --role {role}", role=role))
    if resume:
        page = interview.resume(checkout, catalog)
    elif mock:
        page = interview.start_round(checkout, catalog, track, role)
    else:
        page = interview.start_drill(checkout, catalog, name, track, minutes)
    for line in page:
        click.echo(line)


@click.command()
@click.argument("name", metavar="[KATA]", required=False, shell_complete=complete_kata)
@click.option("--bugs", type=click.IntRange(1, 5), default=1, show_default=True, help="How many are planted.")
@click.option("--seed", type=int, help="Which ones; the last page says it, so a hunt can be given to somebody else.")
def hunt(name: str | None, bugs: int, seed: int | None) -> None:
    """A debugging round: find the planted mistakes.

    Some lines of a working implementation are wrong. Make every test pass, and change nothing without need.
    """
    from dojo.practice.hunt.start import start_hunt

    checkout = find_checkout()
    for line in start_hunt(checkout, load_catalog(checkout), name, bugs, seed):
        click.echo(line)
