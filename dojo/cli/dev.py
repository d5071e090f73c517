"""`kata dev`: the commands of people who make katas."""

import os
import sys
import time
from pathlib import Path

import click

from dojo.authoring import write_stubs
from dojo.cli import dev_tables, tables
from dojo.cli.common import complete_kata
from dojo.cli.help_texts import help_texts
from dojo.core import language
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import find_checkout


@click.group(short_help="Make katas: new, render, verify, bench, export.")
def dev() -> None:
    """Make katas, and prove that their tests are right."""
    language.choose(language.ENGLISH)  # what katas are made in


@dev.command()
@click.argument("name", required=False)
@click.option("--pack", metavar="DIR", help="In a pack of your own, which is begun if it is not there.")
def new(name: str | None, pack: str | None) -> None:
    """Scaffold the files of a new kata."""
    from dojo.authoring.missing import missing
    from dojo.authoring.pack import begin
    from dojo.authoring.scaffold import scaffold

    if pack := pack or os.environ.get("KATA_PACK"):
        os.environ["KATA_PACK"] = os.path.abspath(os.path.expanduser(pack))
        for path in begin(Path(os.environ["KATA_PACK"])):
            click.echo(f"wrote {path}")
    checkout = find_checkout()
    if name is None:
        again = f"kata --pack {checkout.root} new NAME" if pack else "kata dev new NAME"
        click.echo(f"The pack is there. A kata in it: {again}")
        return
    for path in scaffold(checkout, load_catalog(checkout, may_be_empty=True), name):
        click.echo(f"wrote {checkout.shown(path)}")
    click.echo("\nStill missing, in the order of work (docs/adding-a-kata.md has the details):")
    for number, step in enumerate(missing(checkout, name), 1):
        click.echo(f"{number:>3}. {step}")


@dev.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="KATA", help="Only this kata; may be given again.")
def export(folder: Path, only: tuple[str, ...]) -> None:
    """Copy the pack without its answers.

    FOLDER gets the stubs and the tests, to hand out; grading uses the whole pack.
    """
    from dojo.authoring.pack import export, shared_lines

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    names = export(checkout, catalog, folder, {catalog.find(name).name for name in only})
    click.echo(f"{folder} holds {len(names)} of {len(catalog.katas)} katas, without solutions, probes and mistakes.")
    for line in shared_lines(checkout, names, folder):
        click.echo(f"Look at this before you hand it out, a solution has the same line: {line}")
    click.echo(f"Grade what comes back: kata --pack {checkout.root} grade FOLDER")


@dev.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_kata)
@click.option("--check", is_flag=True, help="Only say which stubs differ; exit 1 if any does.")
@click.pass_context
def render(ctx: click.Context, names: tuple[str, ...], check: bool) -> None:
    """Write katas/NAME.py from solutions/NAME.py.

    All of them if no NAME is given.
    """
    checkout = find_checkout()
    catalog = load_catalog(checkout)
    katas = [catalog.find(name).name for name in names] or [kata.name for kata in catalog.katas]
    stale, copies = write_stubs.render_stubs(checkout, katas, check=check)
    for name in stale:
        file = checkout.shown(checkout.stub(name))
        click.echo(
            f"{file} is not what solutions/{name}.py renders to; unless it holds an answer of your own: "
            f"kata dev render {name}"
            if check
            else f"{file} written."
        )
    for copy in copies:
        click.echo(f"What stood there before is in {checkout.shown(copy)}.")
    if not stale:
        click.echo(f"{len(katas)} stubs are what their references render to.")
    ctx.exit(1 if check and stale else 0)


@dev.command()
@click.argument("names", nargs=-1, metavar="[KATA]...", shell_complete=complete_kata)
@click.option("--jobs", type=click.IntRange(1), help="Trials at a time; one a core unless told.")
@click.option("--no-mutants", is_flag=True, help="Leave the automatic mutants out.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    help="Only so many mistakes and mutants of each kata, and half as many alternatives.",
)
@click.option("--peers", is_flag=True, help="Only the adapters over installed libraries (needs the `peers` extra).")
@click.option("--again", is_flag=True, help="Prove also what has not changed since this machine proved it.")
@click.option(
    "--write",
    "writes",
    is_flag=True,
    help="Write what the runs need to name mistakes and, after all katas, the pages' tables.",
)
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    jobs: int | None,
    no_mutants: bool,
    sample: int | None,
    peers: bool,
    again: bool,
    writes: bool,
) -> None:
    """Prove that the tests reject wrong answers.

    And that they accept right ones: stubs, references, named mistakes, mutants and alternatives of KATA.
    """
    from dojo.authoring.verify import pages, proof

    if writes and (no_mutants or sample or peers):
        raise UserError("--write needs whole proofs: leave --no-mutants, --sample and --peers out.")
    checkout = find_checkout()
    out = tables.console()
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {total} trials, {time.monotonic() - started:.0f} s ", nl=done == total, err=True)

    reports = proof.verify(
        checkout,
        list(names),
        jobs=jobs,
        with_mutants=not no_mutants,
        sample=sample,
        peers=peers,
        again=again,
        progress=progress,
    )
    dev_tables.verify_table(out, reports)
    sampled = f", a sample of {sample} mistakes and mutants each; all of them: kata dev verify" if sample else ""
    out.print(f"{len(reports)} katas in {time.monotonic() - started:.0f} s{sampled}.")
    short = any(report.shortfalls for report in reports)
    if writes and short:
        out.print("Nothing was written: first mend what falls short.")
    elif writes:
        for page in pages.write(checkout, load_catalog(checkout), reports):
            out.print(f"{checkout.shown(page)} written.")
        if names:
            out.print("The tables of README.md and docs/ need all katas: kata dev verify --write")
    ctx.exit(1 if short else 0)


@dev.command()
@click.argument("names", nargs=-1, metavar="[watch] [KATA]...", shell_complete=complete_kata)
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
        from dojo.authoring.bench import watch_latency

        katas = tuple(catalog.find(name).name for name in names[1:]) or watch_latency.KATAS
        latencies = watch_latency.measure(checkout, katas, saves)
        dev_tables.latency_table(tables.console(), watch_latency.rows(latencies))
        return
    from dojo.authoring.bench import command, table

    folder = out or checkout.state / "bench"

    def progress(sentence: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{sentence}", nl=False, err=True)

    report = command.bench(
        checkout,
        catalog,
        names,
        peers=peers,
        device=device,
        threads=command.thread_counts(threads),
        sweep=not quick,
        seconds=seconds,
        progress=progress,
    )
    progress("")
    files = command.write(report, folder)
    table.show(tables.console(), report)
    click.echo("Written: " + ", ".join(checkout.shown(file) for file in files))
    ctx.exit(1 if report.problems else 0)


@dev.command()
@click.option("--check", is_flag=True, help="Only say which are not built from their sources; exit 1 if any is not.")
@click.option("--pictures", is_flag=True, help="Draw the README's pictures instead (or check them).")
@click.pass_context
def notebooks(ctx: click.Context, check: bool, pictures: bool) -> None:
    """Build the notebooks from their sources.

    Each notebooks/NAME.py becomes NAME.ipynb, run against the reference.
    """
    checkout = find_checkout()
    if pictures:
        from dojo.authoring.gallery import draw_pictures
        from dojo.practice.watch.picture import draw_picture

        notices = draw_pictures(checkout, check) + draw_picture(checkout, check)
    else:
        from dojo.authoring.notebooks import build_all

        notices = build_all(checkout, check)
    for sentence in notices:
        click.echo(sentence)
    if not notices:
        click.echo(f"Every {'picture is as drawn now' if pictures else 'notebook is built from its source'}.")
    ctx.exit(1 if check and notices else 0)


@dev.command()
@click.argument("names", nargs=-1, metavar="[trainer] [pages] [KATA]...", shell_complete=complete_kata)
@click.option("--lang", "code", type=click.Choice([*language.LANGUAGES][1:]), default="zh", show_default=True)
@click.pass_context
def translate(ctx: click.Context, names: tuple[str, ...], code: str) -> None:
    """What is not translated yet, and the files to fill in.

    With KATA, its files of translations get what they lack, as empty texts; nothing that is there is lost. With
    `trainer`, so does the catalogue of the trainer's own sentences. With `pages`, the translated pages are marked as
    saying what their English says now. Without, a table of everything.
    """
    from dojo.authoring import sentences, translated_pages, translations

    checkout = find_checkout()
    catalog = load_catalog(checkout)
    texts = [*help_texts(ctx.find_root().command)]
    katas = [catalog.find(name) for name in names if name not in ("trainer", "pages")]
    written = [path for kata in katas for path in translations.update(translations.originals(checkout, kata), code)]
    if "trainer" in names:
        written += [*sentences.update(code, texts), *translations.update(translations.of_checks(), code)]
    written += translated_pages.mark(checkout, code) if "pages" in names else []
    for path in written:
        click.echo(f"{checkout.shown(path)} written.")
    shown = katas if names else catalog.katas
    rows = [translations.coverage(kata.name, translations.originals(checkout, kata), code) for kata in shown]
    if not names or "trainer" in names:
        rows += [sentences.coverage(code, texts), translations.coverage("the checks", translations.of_checks(), code)]
    rows += translated_pages.coverage(checkout, code) if not names or "pages" in names else []
    dev_tables.translation_table(tables.console(), rows)
