"""`kata grade-cohort`: parse, call, print."""

import csv
import io
import json
import os
import secrets
import sys
import time
from pathlib import Path

import click

from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.grading.output import own_checkout
from dojo.grading.results import LEVELS


@click.command("grade-cohort")
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
    """Grade a folder of submissions; a run that was ended goes on."""
    checkout = own_checkout()
    catalog = load_catalog(checkout)
    wanted = {catalog[name].name for name in only}
    katas = [kata.name for kata in catalog.katas if not wanted or kata.name in wanted]
    if out.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(
        (out / "submissions").resolve()
    ):
        raise UserError(f"The results cannot go among the submissions ({out}). Give --out another folder.")
    from dojo.grading.cohort import plan as plans
    from dojo.grading.cohort import run, summary
    from dojo.grading.sandbox import selftest
    from dojo.grading.scoring import seeds

    seed = seeds.choose(None, seed_file or _own_seed(out))
    jobs = jobs or os.cpu_count() or 1
    found, others = plans.find(folder)
    if others:
        click.echo(f"Left out, since no folders: {', '.join(others[:10])}{' ...' if others[10:] else ''}", err=True)
    plan = plans.read(checkout, found, katas)
    order = run.Order(str(checkout.root), tuple(katas), seed.secret, not no_naming)
    with order.grader(jobs) as grader:
        selftest.require(grader.standing, require)
        results = plans.Results(out / "results", grader)
        total = len(plan.sources)
        left = run.waiting(plan, results)
        click.echo(
            f"{humanize.count(len(plan.handed_in), 'submission')} with {humanize.count(total, 'distinct file')}; "
            f"{total - len(left)} graded before, {len(left)} to grade, level {grader.standing.level}.", err=True,
        )  # fmt: skip
        bar = Bar(len(left))
        try:
            if engine == "dask":
                run.run_on_dask(order, plan, results, bar.step, scheduler, jobs)
            else:
                run.run_here(grader, plan, results, bar.step)
        except KeyboardInterrupt:
            click.echo(f"\nStopped: {bar.done} of {len(left)} files are graded; the same line goes on.", err=True)
            sys.exit(130)
        bar.end()
        graded = dict(run.together(grader, plan, results))
        for name, entries in graded.items():
            report = grader.report(name, plan.handed_in[name], entries, 0.0)
            write(out / "submissions" / name / "report.json", json.dumps(report.as_dict(), ensure_ascii=True) + "\n")
    page = summary.summarise(checkout, catalog, plan, graded, grader.standing.level)
    write(out / "cohort.csv", summary.as_csv(graded))
    write(out / "similar.csv", _similar(page))
    write(out / "index.html", summary.as_page(page))
    faults = sum(result.status == "error" for entries in graded.values() for result in entries)
    if faults:
        click.echo(
            f"{humanize.count(faults, 'file')} could not be graded by a fault of ours; run the same line again to try those.",
            err=True,
        )
    click.echo(f"Median {page.middle:g} of {page.max_score:g} points. The class: {out}/index.html, {out}/cohort.csv")


def _own_seed(out: Path) -> Path:
    """A secret that is made once and kept, so that a run that goes on asks the same questions."""
    file = out / "seed"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as text:
            text.write(secrets.token_hex(32) + "\n")
    return file


def _similar(page: object) -> str:
    from dojo.grading.cohort.summary import Summary, cell

    assert isinstance(page, Summary)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["kata", "share", "submissions", "and"])
    for kata, names in page.copies:
        writer.writerow([kata, 1, cell(" ".join(names)), ""])
    for pair, a, b in page.pairs:
        writer.writerow([pair.kata, pair.share, cell(" ".join(a)), cell(" ".join(b))])
    return file.getvalue()


class Bar:
    """How far, how fast, how long: on a terminal in one line that is written anew, else a line now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.began = self.told = time.monotonic()  # the first files wait for the reference, so they tell no rate
        self.live = sys.stderr.isatty()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.told >= (0.5 if self.live else 30) or (self.live and self.done == self.total):
            self.told = now
            rate = self.done / max(now - self.began, 1e-9)
            left = (self.total - self.done) / rate
            line = f"{self.done} of {self.total} files, {60 * rate:.0f} a minute, about {humanize.minutes(left)} left"
            click.echo(f"\r{line:<78}" if self.live else line, err=True, nl=not self.live)

    def end(self) -> None:
        if self.live and self.done:
            click.echo(err=True)
