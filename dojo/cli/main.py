"""The `kata` command. Thin: parse, call, print. Nothing here imports torch or pytest."""

import sys
from pathlib import Path

import click

from dojo.cli.authoring import bench, new, notebooks, render, verify
from dojo.cli.grade import check, grade
from dojo.cli.grade_cohort import grade_cohort
from dojo.cli.interview import drill, hunt
from dojo.cli.practise import follow_ups, hint, list_katas, reset, show, solution, test, watch
from dojo.cli.remember import again, due, report, show_history
from dojo.core.errors import UserError

SECTIONS = {
    "Practise": ("list", "show", "watch", "test", "hint", "solution", "follow-ups", "reset"),
    "Interview": ("drill", "hunt"),
    "Remember": ("due", "again", "history", "report"),
    "Grade": ("check", "grade", "grade-cohort"),
    "Make katas": ("new", "render", "verify", "notebooks", "bench"),
}


class Friendly(click.Group):
    """Turns a UserError into its sentence, and an unknown command into a suggestion (click's own)."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(60)) for name in names])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UserError as problem:
            click.echo(str(problem), err=True)
            ctx.exit(2)
        except BrokenPipeError:
            raise  # whoever read this has gone away; click ends quietly
        except OSError as error:
            click.echo(
                f"{error.filename or 'A file'} cannot be used: {error.strerror}. Nothing was lost; mend that and try again.",
                err=True,
            )
            ctx.exit(2)


@click.group(cls=Friendly, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="katas", message="%(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Machine-learning interview katas: solve a stub, run its tests, read why a wrong answer is wrong."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_katas)
        _offer_watch(ctx)


def _offer_watch(ctx: click.Context) -> None:
    """On a terminal, one key goes on from the list."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        click.echo("\nPress Enter to watch it: on every save a verdict. Any other key leaves.")
        if click.getchar() in ("\r", "\n"):
            ctx.invoke(watch)


for command in (
    list_katas,
    show,
    test,
    watch,
    hint,
    solution,
    follow_ups,
    reset,
    drill,
    hunt,
    due,
    again,
    show_history,
    report,
    check,
    grade,
    grade_cohort,
    render,
    verify,
    bench,
    notebooks,
    new,
):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)
