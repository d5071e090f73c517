"""The `kata` command. Thin: parse, call, print. Nothing here imports torch or pytest."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from dojo import history, screens, workshop
from dojo.catalog import Catalog, Kata, load_catalog
from dojo.grade.cohort.commands import grade_cohort
from dojo.grade.commands import grade
from dojo.history import Progress
from dojo.paths import Checkout, find_checkout
from dojo.problem import Problem

SECTIONS = {
    "Practise": ("list", "show", "watch", "test", "hint", "solution", "follow-ups", "reset"),
    "Interview": ("drill", "hunt"),
    "Remember": ("due", "again", "history", "report"),
    "Grade": ("check", "grade", "grade-cohort"),
    "Make katas": ("new", "render", "verify", "notebooks", "bench"),
}


class Friendly(click.Group):
    """Turns a Problem into its sentence, and an unknown command into a suggestion (click's own)."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(60)) for name in names])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Problem as problem:
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


@main.command("list")
def list_katas() -> None:
    """All katas, how far you are, and what to do next."""
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    standing = {kata.name: _progress(checkout, kata.name) for kata in catalog.katas}
    out = screens.console()
    screens.katas_table(out, catalog, standing)
    _say_due(checkout, catalog)
    screens.next_step(out, checkout, catalog, standing)


@main.command()
@click.argument("name")
def show(name: str) -> None:
    """The question, rules, stages, minutes and file of one kata."""
    checkout, _, kata = _find(name)
    rules = workshop.rules(checkout, kata)
    screens.kata_page(screens.console(), checkout, kata, rules, _progress(checkout, kata.name))
    workshop.look(checkout, kata)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
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
    standing = _progress(checkout, name) if name and code == 0 else Progress("not started")
    if standing.state == "solved" and not standing.changed:
        click.echo(f"\nSolved. Compare: kata solution {name}    What an interviewer asks next: kata follow-ups {name}")
    _say_ratings(checkout)
    ctx.exit(code)


@main.command()
@click.argument("name", required=False)
@click.option("--edit", is_flag=True, help="Open the file in $EDITOR at once.")
@click.pass_context
def watch(ctx: click.Context, name: str | None, edit: bool) -> None:
    """On every save a verdict, on one screen. Goes on where you were."""
    from dojo.terminal import Terminal
    from dojo.watch.app import App, first_kata

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    kata = catalog[name or first_kata(checkout, catalog)]
    with Terminal("kata watch") as terminal:
        to_drill = App(checkout, catalog, kata.name, terminal, edit=edit).run()
    if to_drill:
        ctx.invoke(drill, name=to_drill)


@main.command()
@click.argument("name", metavar="[KATA]", required=False)
@click.option("--track", help="Any kata of this track, the one drilled least recently.")
@click.option("--minutes", type=click.FloatRange(1), help="How long; also: any kata that fits.")
@click.option("--mock", is_flag=True, help="A whole round in 60 minutes: a warm-up, a core kata and a bug hunt.")
@click.option("--resume", is_flag=True, help="Go on with the drill that was left or killed.")
def drill(
    name: str | None = None,
    track: str | None = None,
    minutes: float | None = None,
    mock: bool = False,
    resume: bool = False,
) -> None:
    """A timed interview on a fresh copy of the stub.

    Stages open one after another, hints cost points, follow-up questions come at the end, and then one page.
    """
    from dojo.drill import start

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    if resume:
        page = start.resume_drill(checkout, catalog)
    elif mock:
        page = start.start_mock(checkout, catalog, track)
    else:
        page = start.start_drill(checkout, catalog, name, track, minutes)
    for line in page:
        click.echo(line)


@main.command()
@click.argument("name", metavar="[KATA]", required=False)
@click.option("--bugs", type=click.IntRange(1, 5), default=1, show_default=True, help="How many are planted.")
@click.option("--seed", type=int, help="Which ones; the last page says it, so a hunt can be given to somebody else.")
def hunt(name: str | None, bugs: int, seed: int | None) -> None:
    """A debugging round: find the planted mistakes.

    Some lines of a working implementation are wrong. Make every test pass, and touch nothing else.
    """
    from dojo.hunt.start import start_hunt

    checkout = find_checkout()
    for line in start_hunt(checkout, load_catalog(checkout), name, bugs, seed):
        click.echo(line)


@main.command()
@click.argument("name")
def hint(name: str) -> None:
    """The next hint, one rung at a time. Hints are recorded."""
    checkout, _, kata = _find(name)
    rung, text = workshop.next_hint(checkout, kata)
    out = screens.console()
    out.print(f"[bold]Hint {rung} of {len(kata.hints)}[/bold]")
    out.print(text, markup=False)
    out.print(
        "\nThe next one: the same command."
        if rung < len(kata.hints)
        else f"\nThat was the last one. The answer: kata solution {kata.name} --give-up"
    )


@main.command()
@click.argument("name")
@click.option("--give-up", is_flag=True, help="Show it although the tests do not pass yet; recorded.")
def solution(name: str, give_up: bool) -> None:
    """The reference solution, once you have solved the kata."""
    checkout, _, kata = _find(name)
    text = workshop.solution(checkout, kata, give_up=give_up)
    out = screens.console()
    if out.is_terminal:
        from rich.syntax import Syntax

        out.print(Syntax(text, "python", background_color="default"))
    else:
        click.echo(text, nl=False)
    screens.follow_ups(out, kata)


@main.command("follow-ups")
@click.argument("name")
def follow_ups(name: str) -> None:
    """What an interviewer asks next, with model answers. Answer aloud first."""
    _, _, kata = _find(name)
    screens.follow_ups(screens.console(), kata)


@main.command()
@click.argument("name")
def reset(name: str) -> None:
    """Start NAME afresh. What you wrote is copied to .dojo/backups/ first."""
    checkout, _, kata = _find(name)
    copy = workshop.reset(checkout, kata)
    file = checkout.shown(checkout.stub(kata.name))
    click.echo(f"{file} is the stub again." + (f" What you wrote is in {checkout.shown(copy)}." if copy else ""))


@main.command()
def due() -> None:
    """What to solve again, overdue first.

    And what comes in the next days.
    """
    from dojo import diary, repetition

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    schedule = repetition.schedule(checkout, catalog)
    known = {item.kata.name for item in schedule}
    untried = next((k for k in catalog.katas if k.name not in known), None)
    diary.due_page(screens.console(), catalog, schedule, time.time(), untried)


@main.command()
@click.argument("name")
def again(name: str) -> None:
    """Solve NAME again, from the stub.

    Your last attempt goes to .dojo/archive/.
    """
    checkout, _, kata = _find(name)
    copy = workshop.reset(checkout, kata, "archive")
    file = checkout.shown(checkout.stub(kata.name))
    click.echo(f"Your last attempt is in {checkout.shown(copy)}." if copy else "There was no attempt to put aside.")
    click.echo(f"{file} is the stub again; the clock starts now. From memory: kata watch {kata.name}")


@main.command("history")
@click.argument("name", metavar="[KATA]", required=False)
@click.option("--all", "whole", is_flag=True, help="Every attempt, not only the newest 20.")
def show_history(name: str | None, whole: bool) -> None:
    """Your attempts, newest first.

    With KATA, each run of that one.
    """
    from dojo import diary, repetition
    from dojo.attempts import read_attempts

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    kata = catalog[name] if name else None
    attempts = read_attempts(checkout, kata.name if kata else None)
    reviews = repetition.reviews(checkout, catalog)
    now = time.time()
    if kata is None:
        diary.history_page(screens.console(), attempts, reviews, now, most=0 if whole else 20)
    else:
        next_time = next((d for d in repetition.schedule(checkout, catalog) if d.kata is kata), None)
        diary.kata_history(screens.console(), kata, attempts, reviews, next_time, now)


@main.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where; .dojo/report.html unless told."
)
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def report(output: Path | None, opened: bool) -> None:
    """Your practice in pictures.

    One HTML file that needs no network.
    """
    from dojo.report import write_report

    checkout = find_checkout()
    file = write_report(checkout, load_catalog(checkout), time.time(), output)
    click.echo(f"Written: {checkout.shown(file)}")
    if not opened:
        click.echo("To look at it: kata report --open")
    elif click.launch(file.as_uri()) != 0:
        click.echo(f"No browser could be started here. Open this in one: {file.as_uri()}")


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """What grading would refuse in FILE, and why.

    Reads the files and runs nothing of them. A file is called like its kata.
    """
    from dojo.grade.check import check_files

    checkout = find_checkout()
    lines, refused = check_files(checkout, load_catalog(checkout), files)
    for line in lines:
        click.echo(line)
    ctx.exit(1 if refused else 0)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--check", is_flag=True, help="Only say which stubs differ; exit 1 if any does.")
@click.pass_context
def render(ctx: click.Context, names: tuple[str, ...], check: bool) -> None:
    """Write katas/NAME.py from solutions/NAME.py.

    All of them if no NAME is given.
    """
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    katas = [catalog[name].name for name in names] or [kata.name for kata in catalog.katas]
    stale, copies = workshop.render_stubs(checkout, katas, check=check)
    for name in stale:
        file = checkout.shown(checkout.stub(name))
        click.echo(
            f"{file} is not what solutions/{name}.py renders to; unless it holds an answer of your own: kata render {name}"
            if check
            else f"{file} written."
        )
    for copy in copies:
        click.echo(f"What stood there before is in {checkout.shown(copy)}.")
    if not stale:
        click.echo(f"{len(katas)} stubs are what their references render to.")
    ctx.exit(1 if check and stale else 0)


@main.command()
@click.argument("names", nargs=-1, metavar="[KATA]...")
@click.option("--jobs", type=click.IntRange(1), help="Trials at a time; one a core unless told.")
@click.option("--no-mutants", is_flag=True, help="Leave the automatic mutants out.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    help="Only so many mistakes and mutants of each kata, and half as many alternatives.",
)
@click.option("--peers", is_flag=True, help="Only the adapters over installed libraries (needs the `peers` extra).")
@click.pass_context
def verify(
    ctx: click.Context, names: tuple[str, ...], jobs: int | None, no_mutants: bool, sample: int | None, peers: bool
) -> None:
    """Prove that the tests reject wrong answers.

    And that they accept right ones: stubs, references, named mistakes, mutants and alternatives of KATA.
    """
    from dojo.verify import verify as prove

    checkout = find_checkout()
    out = screens.console()
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {total} trials, {time.monotonic() - started:.0f} s ", nl=done == total, err=True)

    reports = prove(
        checkout,
        list(names),
        jobs=jobs or 0,
        with_mutants=not no_mutants,
        sample=sample,
        peers=peers,
        progress=progress,
    )
    screens.verify_table(out, reports)
    tried = f", a sample of {sample} mistakes and mutants each; all of them: kata verify" if sample else ""
    out.print(f"{len(reports)} katas in {time.monotonic() - started:.0f} s{tried}.")
    ctx.exit(1 if any(report.shortfalls for report in reports) else 0)


@main.command()
@click.argument("names", nargs=-1, metavar="[watch] [KATA]...")
@click.option("--peers", is_flag=True, help="Also the libraries that are installed (requirements-peers.txt).")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", default="1", show_default=True, help="Numbers of threads, such as 1,2.")
@click.option("--quick", is_flag=True, help="Only the realistic size: no sweep over others.")
@click.option("--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="For each size.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where; .dojo/bench unless told.")
@click.option("--saves", type=click.IntRange(3), default=12, show_default=True, help="Of `watch`: saves of each kata.")
@click.pass_context
def bench(
    ctx: click.Context,
    names: tuple[str, ...],
    peers: bool,
    device: str,
    threads: str,
    quick: bool,
    seconds: float,
    out: Path | None,
    saves: int,
) -> None:
    """How fast the references are.

    Beside the naive way, your own code where it passes, and the libraries of the field. With `watch`: how long a save
    takes to become a verdict, beside a cold pytest.
    """
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    if names[:1] == ("watch",):
        from dojo.watch.bench import KATAS, measure, rows

        found = measure(checkout, tuple(catalog[name].name for name in names[1:]) or KATAS, saves)
        screens.latency_table(screens.console(), rows(found))
        return
    from dojo.bench import app, table

    folder = out or checkout.state / "bench"

    def progress(sentence: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{sentence}", nl=False, err=True)

    report = app.bench(
        checkout,
        catalog,
        names,
        peers=peers,
        device=device,
        threads=app.thread_counts(threads),
        sweep=not quick,
        seconds=seconds,
        progress=progress,
    )
    progress("")
    written = app.write(report, folder)
    table.show(screens.console(), report)
    click.echo("Written: " + ", ".join(checkout.shown(file) for file in written))
    ctx.exit(1 if report.problems else 0)


@main.command()
@click.option("--check", is_flag=True, help="Only say which are not built from their sources; exit 1 if any is not.")
@click.option("--pictures", is_flag=True, help="Draw the README's pictures instead (or check them).")
@click.pass_context
def notebooks(ctx: click.Context, check: bool, pictures: bool) -> None:
    """Build the notebooks from their sources.

    Each notebooks/NAME.py becomes NAME.ipynb, run against the reference.
    """
    from dojo.gallery import draw_pictures
    from dojo.notebooks import build_all

    said = (draw_pictures if pictures else build_all)(find_checkout(), check)
    for sentence in said or [
        f"Every {'picture is as drawn now' if pictures else 'notebook is built from its source'}."
    ]:
        click.echo(sentence)
    ctx.exit(1 if check and said else 0)


@main.command()
@click.argument("name")
def new(name: str) -> None:
    """Scaffold the files of a new kata."""
    from dojo.scaffold import scaffold

    checkout = find_checkout()
    for path in scaffold(checkout, load_catalog(checkout), name):
        click.echo(f"wrote {checkout.shown(path)}")
    click.echo(f"Now write solutions/{name}.py, then: kata render {name} && kata verify {name}")


def _find(name: str) -> tuple[Checkout, Catalog, Kata]:
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    return checkout, catalog, catalog[name]


def _say_due(checkout: Checkout, catalog: Catalog) -> None:
    from dojo import repetition

    with suppress(Problem):
        if due := repetition.due_now(checkout, catalog, time.time()):
            click.echo(f"{len(due)} {'kata is' if len(due) == 1 else 'katas are'} due for repetition: kata due\n")


def _say_ratings(checkout: Checkout) -> None:
    """What the tests have just decided: rating, why, and when to solve it again."""
    from dojo import repetition

    with suppress(Problem):
        for sentence in repetition.news(checkout, load_catalog(checkout), time.time()):
            click.echo(sentence)


def _progress(checkout: Checkout, name: str) -> Progress:
    try:
        return history.progress(checkout, name)
    except Problem:
        return Progress("not started")


main.add_command(grade)
main.add_command(grade_cohort)

if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)
