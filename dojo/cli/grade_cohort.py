"""`kata grade-cohort`: grades a class, and says how far it is. torch is imported only when grading begins."""

import os
import secrets
import sys
import time
from pathlib import Path

import click

from dojo.cli.common import installed_checkout
from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.cores import usable_cores
from dojo.core.errors import UserError
from dojo.grading.reports.escape import plain
from dojo.grading.results import EXIT_WITH_FAULTS, LEVELS, KataResult

MAX_SHOWN = 10  # faults, one in a line


@click.command("grade-cohort", short_help="Grade a class: a folder of submissions.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where results go; run again to go on.")
@click.option("--only", multiple=True, metavar="KATA", help="Grade this kata alone; may be given again.")
@click.option("--seed-file", type=click.Path(path_type=Path), help="A secret of your own; else OUT/seed, made once.")
@click.option("--jobs", type=click.IntRange(1, 256), help="How many files at once; one for each core unless told.")
@click.option("--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True)
@click.option(
    "--scheduler", metavar="ADDRESS", help="A Dask cluster that runs already; else processes on this machine."
)
@click.option(
    "--require", type=click.Choice(LEVELS), default="bare", help="Refuse to grade where less than this holds."
)
@click.option("--no-naming", is_flag=True, help="Do not look for the named mistakes that wrong answers make.")
def grade_cohort(
    folder: Path, out: Path, only: tuple[str, ...], seed_file: Path | None, jobs: int | None,
    engine: str, scheduler: str | None, require: str, no_naming: bool,
) -> None:  # fmt: skip
    """Grade a folder of submissions; a run that was ended goes on.

    Ends with 0 when all was graded, 3 when the grader failed on a file, 2 when nothing was graded.
    """
    checkout = installed_checkout()
    catalog = load_catalog(checkout)
    wanted = {catalog[name].name for name in only}
    katas = [kata.name for kata in catalog.katas if not wanted or kata.name in wanted]
    if out.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(
        (out / "submissions").resolve()
    ):
        raise UserError(f"The results cannot go among the submissions ({out}). Give --out another folder.")
    from dojo.grading.cohort import run
    from dojo.grading.cohort.output import write_class
    from dojo.grading.cohort.plan import ResultStore, find_submissions, read_class
    from dojo.grading.sandbox import selftest
    from dojo.grading.sandbox.faults import GraderFault
    from dojo.grading.scoring import seeds

    seed = seeds.choose(None, seed_file or _stored_seed(out))
    jobs = jobs or usable_cores()
    folders, others = find_submissions(folder)
    if others:
        click.echo(f"Left out, since no folders: {', '.join(others[:10])}{' ...' if others[10:] else ''}", err=True)
    plan = read_class(checkout, folders, katas)
    private = tuple(str(path.resolve()) for path in (folder, out, seed_file) if path)
    settings = run.GraderSettings(str(checkout.root), tuple(katas), seed.secret, not no_naming, private=private)
    try:
        with_sandboxes = settings.make_grader(jobs)
    except GraderFault as fault:
        raise UserError(
            f"Nothing could be graded: {fault}. Run it again, with --jobs 1 on a small or busy machine."
        ) from fault
    with with_sandboxes as grader:
        selftest.require(grader.selftest, require)
        store = ResultStore(out / "results", grader)
        total, to_grade = len(plan.sources), len(run.ungraded(plan, store))
        click.echo(
            f"{humanize.count(len(plan.submissions), 'submission')} with {humanize.count(total, 'distinct file')}; "
            f"{total - to_grade} graded before, {to_grade} to grade, level {grader.selftest.level}.", err=True,
        )  # fmt: skip
        progress = ProgressBar(to_grade)
        try:
            if engine == "dask":
                run.run_on_dask(settings, plan, store, progress.step, scheduler, jobs)
            else:
                run.run_in_threads(grader, plan, store, progress.step)
        except KeyboardInterrupt:
            click.echo(f"\nStopped: {progress.done} of {to_grade} files are graded; the same line goes on.", err=True)
            sys.exit(130)
        progress.finish()
        graded = dict(run.collect_results(grader, plan, store))
        cohort, unwritten = write_class(out, catalog, plan, graded, grader)
    click.echo(
        f"Median {cohort.median:g} of {cohort.max_score:g} points. The class: {out}/index.html, {out}/cohort.csv"
    )
    if faults := [(name, result) for name, results in graded.items() for result in results if result.status == "error"]:
        _print_faults(faults)
    for sentence in unwritten[:MAX_SHOWN]:
        click.echo(sentence, err=True)
    if faults or unwritten:
        sys.exit(EXIT_WITH_FAULTS)


def _print_faults(faults: list[tuple[str, KataResult]]) -> None:
    """Prints which files could not be graded and why; `faults` has the submission and the result of each."""
    for name, result in faults[:MAX_SHOWN]:
        click.echo(f"{name}, {result.id}: {plain(result.reason, 500)}", err=True)
    click.echo(
        f"{humanize.count(len(faults), 'file')} could not be graded, which is no mark and not in the median. "
        "Run the same line again to try those.",
        err=True,
    )


def _stored_seed(out: Path) -> Path:
    """The file OUT/seed, made with a fresh secret if it does not exist. So a run that goes on has the same cases."""
    file = out / "seed"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as text:
            text.write(secrets.token_hex(32) + "\n")
    return file


class ProgressBar:
    """Prints how many files are graded and how long the rest takes.

    On a terminal it is one line that is overwritten; elsewhere a new line every half a minute.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.start = self.last_print = time.monotonic()
        self.is_live = sys.stderr.isatty()
        self.interval_s = 0.5 if self.is_live else 30

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.last_print >= self.interval_s or (self.is_live and self.done == self.total):
            self.last_print = now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / rate
            line = f"{self.done} of {self.total} files, {60 * rate:.0f} a minute, about {humanize.minutes(left)} left"
            click.echo(f"\r{line:<78}" if self.is_live else line, err=True, nl=not self.is_live)

    def finish(self) -> None:
        if self.is_live and self.done:
            click.echo(err=True)
