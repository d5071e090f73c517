"""The group of all `kata` commands: help in sections, errors as sentences. Nothing here imports torch or pytest."""

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from dojo.cli.dev import dev
from dojo.cli.grade import check, grade
from dojo.cli.grade_cohort import grade_cohort
from dojo.cli.help_texts import translate_help
from dojo.cli.interview import drill, hunt
from dojo.cli.mcp import mcp
from dojo.cli.plan import plan
from dojo.cli.practise import debug, follow_ups, hint, list_katas, reset, show, solution, test, watch
from dojo.cli.remember import again, due, report, show_history
from dojo.cli.room import room
from dojo.cli.update import init, update
from dojo.core.errors import UserError
from dojo.core.files import owner_advice
from dojo.core.language import ENGLISH, LANGUAGES, choose, language, say, to_say
from dojo.core.printing import print_anything
from dojo.progress.database import tell_of_damage

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    to_say("Practise"): (list_katas, show, watch, room, test, debug, hint, solution, follow_ups, reset),
    to_say("Set up"): (init, update),
    to_say("Interview"): (drill, hunt),
    to_say("Remember"): (plan, due, again, show_history, report),
    to_say("Grade"): (grade, grade_cohort),
}


class KataGroup(click.Group):
    """Prints help that fits one screen of 80x24, and a UserError as its sentence, with exit code 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        print_anything()
        translate_help(self)
        return super().main(*args, **options)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"{self.help}\n")
        section_width = 2 + max(cell_len(say(section)) for section in SECTIONS)
        name_width = 2 + max(len(command.name or "") for commands in SECTIONS.values() for command in commands)
        for section, commands in SECTIONS.items():
            for command in commands:
                title = say(section) if command is commands[0] else ""
                summary = command.get_short_help_str(formatter.width - section_width - name_width)
                formatter.write(f"{set_cell_size(title, section_width)}{command.name:{name_width}}{summary}\n")
        formatter.write(f"{self.epilog}\n")

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)
        except BrokenPipeError:
            raise  # the reader of the pipe has closed it; click exits
        except OSError as error:
            file = Path(error.filename) if isinstance(error.filename, str) else None
            advice = owner_advice(file.parent, file) if file else ""
            click.echo(
                f"{error.filename or 'A file'} cannot be used: {error.strerror}. Nothing was lost; mend that and try again."
                f"{advice}",
                err=True,
            )
            ctx.exit(2)
        finally:
            if sentence := tell_of_damage():
                click.echo(sentence, err=True)


class OldSpelling(click.Command):
    """`kata NAME` of a command that is now `kata dev NAME`: hidden, and otherwise the same."""

    def __init__(self, command: click.Command) -> None:
        super().__init__(command.name, callback=command.callback, params=command.params, help=command.help, hidden=True)

    def invoke(self, ctx: click.Context) -> object:
        if sys.stderr.isatty():  # a script's log stays as it was
            click.echo(f"`kata {self.name}` is now `kata dev {self.name}`; the old spelling still works.", err=True)
        choose(ENGLISH)  # as the group `kata dev` does
        return super().invoke(ctx)


def _choose(ctx: click.Context, option: click.Parameter, code: str | None) -> str:
    """Settles the language for this process and those that it starts, before any help is shown."""
    choose(code or language())
    translate_help(ctx.command)
    return language()


@click.group(
    cls=KataGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options: kata COMMAND -h   Packs: kata --pack DIR   Also: kata dev, check, mcp",
)
@click.version_option(package_name="katas", message="%(version)s")
@click.option("--pack", metavar="DIR", help="Work on the katas of this folder.")
@click.option(
    "--lang",
    type=click.Choice([*LANGUAGES]),
    is_eager=True,
    callback=_choose,
    help="The language; the system's unless told.",
)
@click.pass_context
def main(ctx: click.Context, pack: str | None, lang: str) -> None:
    """Katas for machine-learning interviews: write the answer, run its tests."""
    if pack:
        os.environ["KATA_PACK"] = os.path.abspath(os.path.expanduser(pack))  # for this process and those that it starts
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_katas)
        _offer_watch(ctx)


def _offer_watch(ctx: click.Context) -> None:
    """Starts `kata watch` if Enter is pressed. Asks nothing where no person reads."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        click.echo(say("\nPress Enter to watch it: on every save a verdict. Any other key leaves."))
        if click.getchar() in ("\r", "\n"):
            ctx.invoke(watch)


for commands in SECTIONS.values():
    for command in commands:
        main.add_command(command)
main.add_command(dev)
main.add_command(mcp)
main.add_command(check)
for command in dev.commands.values():
    main.add_command(OldSpelling(command))

if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)
