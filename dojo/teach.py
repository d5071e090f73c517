"""The last lines of a run: what is not started, which named mistake this looks like, what to do next."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dojo import mistakes, probes
from dojo.outcome import Outcome

if TYPE_CHECKING:
    from dojo.plugin import Dojo

SAYS = "Your result is exactly what you get when"


def summarise(tr: Any, dojo: "Dojo") -> None:
    """Writes the summary of `dojo`'s outcomes to pytest's terminal reporter `tr`."""
    if tr.verbosity > -2:
        _not_started(tr, dojo)
    if not dojo.config.getoption("--no-naming"):
        for kata in dict.fromkeys(o.kata for o in dojo.outcomes if o.verdict == "failed"):
            for sentence in named(dojo, kata):
                tr.write_line(f"{kata}: {SAYS} {sentence}.", red=True, bold=True)


def _not_started(tr: Any, dojo: "Dojo") -> None:
    waiting = [o for o in dojo.outcomes if o.verdict == "not started"]
    if not waiting:
        return
    katas = Counter(o.kata for o in waiting)
    tr.section("not started", sep="=", yellow=True)
    for kata, count in katas.items():
        file = dojo.checkout.shown(dojo.target / f"{kata}.py")
        if len(katas) > 1:
            tr.write_line(f"{kata}: {count} tests wait for {file}")
            continue
        for outcome in waiting:
            tr.write_line(f"stage {outcome.stage}  {outcome.test}: {outcome.message}")
        tr.write_line(f"Next: open {file}, or ask for help with `kata hint {kata}`.")


def named(dojo: "Dojo", kata: str) -> Iterable[str]:
    """What the learner's code behaves like, one sentence for each function that answers wrongly."""
    path = dojo.checkout.probe(kata)
    if not path.is_file():
        return []
    seed = dojo.config.getoption("--kata-seed")
    try:
        import importlib

        probe = probes.load_probe(path)
        seen = probes.gather(probe, importlib.import_module(f"katas.{kata}"), seed)
        right, wrong = mistakes.gather_known(dojo.checkout, kata, probe, seed)
        return [mistake.says for mistake in mistakes.name_mistakes(probe, seed, seen, right, wrong)]
    except Exception as error:  # naming is a courtesy: it never breaks a run
        return (
            [f"... no name could be found ({type(error).__name__}: {error})"] if dojo.config.option.verbose > 1 else []
        )


def failed_first(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The first failure in the order in which a learner should read them: by stage."""
    wrong = [o for o in outcomes if o.verdict in ("failed", "error")]
    return min(wrong, key=lambda o: o.stage, default=None)
