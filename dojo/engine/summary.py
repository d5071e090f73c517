"""The last lines of a run: what is not started, how far each stage is, which named mistakes the code behaves like."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from _pytest.terminal import TerminalReporter

from dojo.core.language import say
from dojo.core.outcome import Diagnosis, Outcome, comparing, sentences_of
from dojo.core.paths import Checkout
from dojo.core.stubs import handed_out


def write_not_started(
    reporter: TerminalReporter, outcomes: Sequence[Outcome], checkout: Checkout, target: Path
) -> None:
    """The tests that wait for code, grouped by the stub's sentences; one line for each kata if there are several."""
    waiting = [o for o in outcomes if o.verdict == "not started"]
    if not waiting:
        return
    katas = Counter(o.kata for o in waiting)
    reporter.section(say("not started"), sep="=", yellow=True)
    width = shutil.get_terminal_size().columns
    for kata, count in katas.items():
        file = checkout.shown(target / f"{kata}.py")
        if len(katas) > 1:
            reporter.write_line(say("{kata}: {count} tests wait for {file}", kata=kata, count=count, file=file))
            continue
        for message in dict.fromkeys(o.message for o in waiting):
            reporter.write_line(message)
            for outcome in waiting:
                if outcome.message == message:
                    line = f"  stage {outcome.stage}  {outcome.test}"
                    reporter.write_line(line if len(line) < width else f"{line[: width - 4]}...")
        reporter.write_line(say("Next: open {file}, or ask for help with `kata hint {kata}`.", file=file, kata=kata))


def write_where_tests_are(reporter: TerminalReporter, arguments: Sequence[str], checkout: Checkout) -> None:
    """A sentence for `pytest answers` and `pytest katas/ddpm.py`, which find no test: these folders hold none."""
    for argument in arguments:
        path = Path(argument.split("::")[0]).absolute()
        for folder in (checkout.answers, checkout.katas, checkout.solutions):
            if path == folder or folder in path.parents:
                tests = checkout.tests(path.stem) if checkout.tests(path.stem).is_dir() else checkout.tests("")
                command = f"kata test {path.stem}" if path != folder and tests.name == path.stem else "kata test NAME"
                reporter.write_line(
                    say(
                        "{folder}/ holds no tests. They are in {tests}/: `pytest {tests}`, or `{command}`.",
                        folder=checkout.shown(folder),
                        tests=checkout.shown(tests),
                        command=command,
                    )
                )
                return


class Awaited:
    """A context manager with a line that says what is waited for. On a terminal only, and gone at the end."""

    def __init__(self, reporter: TerminalReporter | None) -> None:
        self.reporter = reporter if reporter and reporter.isatty else None
        self.line = ""

    def __enter__(self) -> "Awaited":
        return self

    def show(self, mistakes: int) -> None:
        """Says that as many named mistakes are compared with the learner's code."""
        if self.reporter and mistakes:
            self.line = comparing(mistakes)
            self.reporter.write(self.line, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.reporter and self.line:
            self.reporter.write(f"\r{' ' * len(self.line)}\r", flush=True)


def write_stages(reporter: TerminalReporter, outcomes: Sequence[Outcome]) -> None:
    """One line if a single kata was run and some of it works: `stage 1: 9 of 11   stage 2: all 19 tests pass`."""
    counted = [o for o in outcomes if o.stage and o.verdict != "skipped"]
    if len({o.kata for o in counted}) != 1 or not any(o.verdict == "passed" for o in counted):
        return
    parts = []
    for stage in sorted({o.stage for o in counted}):
        verdicts = [o.verdict for o in counted if o.stage == stage]
        passed = verdicts.count("passed")
        parts.append(
            say("stage {stage}: all {passed}", stage=stage, passed=passed)
            if passed == len(verdicts)
            else say("stage {stage}: {passed} of {total}", stage=stage, passed=passed, total=len(verdicts))
        )
    reporter.write_line("")
    reporter.write_line(say("{stages} tests pass", stages="   ".join(parts)))


def write_diagnoses(
    reporter: TerminalReporter, diagnoses: Mapping[str, Sequence[Diagnosis]], errors: Mapping[str, str]
) -> None:
    """The diagnoses of each kata; with -vv also why a kata could not be diagnosed (`errors`)."""
    for kata, those in diagnoses.items():
        for sentence in sentences_of(those):
            reporter.write_line(say("{kata}: {sentence}.", kata=kata, sentence=sentence), red=True, bold=True)
        if errors.get(kata) and reporter.verbosity > 1:
            reporter.write_line(
                say("{kata}: no diagnosis, because looking for one failed ({error}).", kata=kata, error=errors[kata])
            )


def write_handed_out(reporter: TerminalReporter, outcomes: Sequence[Outcome], checkout: Checkout) -> None:
    """Why no failure is named, where the pack was handed out without its mistakes."""
    if not checkout.solutions.is_dir() and any(outcome.verdict == "failed" for outcome in outcomes):
        reporter.write_line(handed_out())


def write_where_inputs_are(reporter: TerminalReporter, outcomes: Sequence[Outcome]) -> None:
    """The command that shows what the failing tests gave to the learner's code, if they are of one kata."""
    failed = {outcome.kata for outcome in outcomes if outcome.verdict == "failed"}
    if len(failed) == 1 and reporter.verbosity > -2:
        reporter.write_line(say("The first failure's inputs: kata debug {kata}", kata=failed.pop()))


def write_unnamed(reporter: TerminalReporter, katas: Sequence[str], limit_s: float) -> None:
    """For which katas no named mistake was found in time, and how to wait longer."""
    if katas:
        kata = katas[0] if len(katas) == 1 else "NAME"
        reporter.write_line(
            say(
                "{katas}: no known mistake was found within {limit_s:g} s of computing. To look longer: kata "
                "test {kata} --naming-limit=30",
                katas=", ".join(katas),
                limit_s=limit_s,
                kata=kata,
            )
        )
