"""The last lines of a run: what is not started, which named mistake this looks like, what to do next."""

import shutil
from collections import Counter
from typing import Any

from dojo.engine.diagnosis import find_mistakes


def summarise(tr: Any, dojo: Any, *, interrupted: bool = False) -> None:
    """Writes the summary of `dojo`'s outcomes to pytest's terminal reporter `tr`.

    An interrupted run is not named: that would call the very function that someone may have given up waiting for.
    """
    if tr.verbosity > -2:
        _not_started(tr, dojo)
    _stages(tr, dojo)
    if not interrupted and not dojo.config.getoption("--no-naming"):
        for kata in dict.fromkeys(o.kata for o in dojo.outcomes if o.verdict == "failed"):
            seed = dojo.config.getoption("--kata-seed")
            found, why_not = find_mistakes(dojo.checkout, kata, seed)
            dojo.named[kata] = [(mistake.name, sentence) for mistake, sentence in found]
            for _, sentence in found:
                tr.write_line(f"{kata}: {sentence}.", red=True, bold=True)
            if why_not and tr.verbosity > 1:
                tr.write_line(f"{kata}: ... no name could be found ({why_not}).")


def _stages(tr: Any, dojo: Any) -> None:
    """One line when a single kata was run and some of it works: `stage 1: 9 of 11   stage 2: all 19`."""
    counted = [o for o in dojo.outcomes if o.stage and o.verdict != "skipped"]
    if len({o.kata for o in counted}) != 1 or not any(o.verdict == "passed" for o in counted):
        return
    parts = []
    for stage in sorted({o.stage for o in counted}):
        verdicts = [o.verdict for o in counted if o.stage == stage]
        passed = verdicts.count("passed")
        parts.append(
            f"stage {stage}: " + (f"all {passed}" if passed == len(verdicts) else f"{passed} of {len(verdicts)}")
        )
    tr.write_line("")
    tr.write_line("   ".join(parts) + " tests pass")


def _not_started(tr: Any, dojo: Any) -> None:
    waiting = [o for o in dojo.outcomes if o.verdict == "not started"]
    if not waiting:
        return
    katas = Counter(o.kata for o in waiting)
    tr.section("not started", sep="=", yellow=True)
    width = shutil.get_terminal_size().columns
    for kata, count in katas.items():
        file = dojo.checkout.shown(dojo.target / f"{kata}.py")
        if len(katas) > 1:
            tr.write_line(f"{kata}: {count} tests wait for {file}")
            continue
        for message in dict.fromkeys(o.message for o in waiting):
            tr.write_line(message)
            for outcome in waiting:
                if outcome.message == message:
                    line = f"  stage {outcome.stage}  {outcome.test}"
                    tr.write_line(line if len(line) < width else f"{line[: width - 4]}...")
        tr.write_line(f"Next: open {file}, or ask for help with `kata hint {kata}`.")
