"""`kata grade` and `kata check`. torch is imported only when grading begins."""

import sys
from pathlib import Path

import click

from dojo.cli.common import installed_checkout
from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.cores import usable_cores
from dojo.core.errors import UserError
from dojo.core.paths import find_checkout
from dojo.grading.output import discard_old_reports, write_failure, write_reports
from dojo.grading.results import EXIT_WITH_FAULTS, FORMAT_FILES, LEVELS, ONLY_MARKS, GradeReport, KataResult


@click.command(short_help="Grade one submission, which cannot forge its score.")
@click.argument("submission", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="KATA", help="Grade this kata alone; may be given again.")
@click.option("--seed", type=int, help="Practise grading: the same cases each time. A real grading draws them afresh.")
@click.option(
    "--seed-file", type=click.Path(path_type=Path), help="A secret of your own, for all submissions of a class."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("grade"), show_default=True, help="Where the reports go."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(list(FORMAT_FILES)),
    help="Another report beside report.json.",
)
@click.option(
    "--require", type=click.Choice(LEVELS), default="bare", help="Refuse to grade where less than this holds."
)
@click.option("--jobs", type=click.IntRange(1, 256), help="How many katas at once; one for each core unless told.")
@click.option("--no-naming", is_flag=True, help="Do not look for the named mistake that a wrong answer makes.")
@click.option(
    "--without", multiple=True, hidden=True, metavar="LAYER", help="Switch a layer off, to see what it stops."
)
def grade(
    submission: Path, only: tuple[str, ...], seed: int | None, seed_file: Path | None, out: Path,
    formats: tuple[str, ...], require: str, jobs: int | None, no_naming: bool, without: tuple[str, ...],
) -> None:  # fmt: skip
    """Grade a folder that holds answers/*.py, so that it cannot forge the score.

    Ends with 0 when all was graded, 3 when the grader failed on a kata, 2 when nothing was graded.
    """
    checkout = installed_checkout()
    catalog = load_catalog(checkout)
    katas = [kata.name for kata in catalog.katas]
    if only:
        wanted = {catalog[name].name for name in only}
        katas = [name for name in katas if name in wanted]
    if seed is not None and seed_file is not None:
        raise UserError("Give --seed or --seed-file, not both.")
    _check_out(out, submission)
    from dojo.grading.grader import Grader
    from dojo.grading.reports import check_formats
    from dojo.grading.sandbox import selftest
    from dojo.grading.sandbox.faults import GraderFault
    from dojo.grading.scoring import seeds

    check_formats(formats)
    secret = seeds.choose(seed, seed_file)
    progress = ProgressPrinter(katas)
    discard_old_reports(out)
    try:
        with Grader(
            checkout, katas, secret, jobs=jobs or usable_cores(), without=without, name_mistakes=not no_naming,
            private=tuple(path for path in (submission, out, seed_file) if path),
        ) as grader:  # fmt: skip
            selftest.require(grader.selftest, require)
            report = grader.grade(submission, progress.show)
    except KeyboardInterrupt:
        click.echo(f"\nStopped: nothing was graded, and {out}/report.json says so.", err=True)
        sys.exit(130)
    except GraderFault as fault:
        user_error = UserError(
            f"Nothing could be graded: {fault}. Run it again, with --jobs 1 on a small or busy machine; `kata dev verify NAME` tries a kata by itself."
        )
        write_failure(out, user_error)
        raise user_error from fault
    except BaseException as error:
        write_failure(out, error)
        raise
    write_reports(out, report, formats)
    progress.finish(report, out)
    if report.faults:
        _print_faults(report, formats)
        sys.exit(EXIT_WITH_FAULTS)


def _print_faults(report: GradeReport, formats: tuple[str, ...]) -> None:
    """Prints, for the person who grades, which katas could not be graded and why."""
    from dojo.grading.reports.escape import plain

    for kata in report.faults:
        click.echo(f"{kata.id}: {plain(kata.reason, 500)}", err=True)
    missing = [FORMAT_FILES[name] for name in formats if name in ONLY_MARKS]
    click.echo(
        f"{humanize.count(len(report.faults), 'kata')} could not be graded: this is no mark. Grade the submission again."
        + (f" {missing[0]} was not written, since it could only have given a mark." if missing else ""),
        err=True,
    )


def _check_out(out: Path, submission: Path) -> None:
    """Raises UserError for a folder in the submission, which could have put links there, and for what is no folder."""
    if out.resolve().is_relative_to(submission.resolve()):
        raise UserError(f"The reports cannot go into the submission's own folder ({out}). Give --out another folder.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} is not a folder. Give --out another one.")


class ProgressPrinter:
    """Prints one line for each kata (on a terminal, as soon as it is graded), and the score at the end."""

    def __init__(self, katas: list[str]) -> None:
        self.remaining, self.width = len(katas), max(map(len, katas))
        self.is_live = sys.stderr.isatty()
        if self.is_live:
            click.echo(f"Grading {len(katas)} katas: first the sandbox is tested, then the references run.", err=True)

    def show(self, result: KataResult) -> None:
        self.remaining -= 1
        if self.is_live:
            click.echo(f"{_line(result, self.width)}   ({self.remaining} to go)", err=True)

    def finish(self, report: GradeReport, out: Path) -> None:
        if not self.is_live:
            for result in report.katas:
                click.echo(_line(result, self.width))
        click.echo(
            f"{report.score:.6g} of {report.max_score:.6g} points, level {report.level}, in {report.seconds:.0f} s: {out}/report.json"
        )


def _line(result: KataResult, width: int) -> str:
    from dojo.grading.reports.escape import plain

    passed = sum(case.passed for case in result.cases)
    counts = f"{passed}/{len(result.cases)} cases"
    points = f"{result.points:5.2f} of {result.max_points:g}"
    status = result.status.replace("_", " ")
    return f"{result.id:{width}}  {points}  {counts:>12}  {status}  {plain(result.reason)[:160]}".rstrip()


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """What grading would refuse in FILE, and why.

    Reads the files and runs nothing of them. A file is called like its kata.
    """
    from dojo.grading.submission.check import check_files

    checkout = find_checkout()
    lines, refused = check_files(checkout, load_catalog(checkout), files)
    for line in lines:
        click.echo(line)
    ctx.exit(1 if refused else 0)
