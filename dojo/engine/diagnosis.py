"""Finds the named mistakes that some code behaves like.

The evidence that the kata's probe gathers from the code is compared with the evidence of each named mistake.
"""

import hashlib
import importlib
import io
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.outcome import Diagnosis, Outcome, text_of
from dojo.core.paths import Checkout
from dojo.engine.evidence import gather_variants
from dojo.testing import probes
from dojo.testing.probes import Case, Evidence, Probe, Raised

CaseEvidence = dict[str, Any]
MAX_DIAGNOSES = 4
FORMAT = 2  # of the cache files; another one for each change of KnownEvidence
PLACE = re.compile(r"0x[0-9a-fA-F]+| \((line \d+|after [\w.]+)\)$")  # addresses in memory, and see `probes.note_of`


class KnownEvidence(NamedTuple):
    """The evidence of the reference and of each named mistake, and the cases in which the two differ."""

    reference: Evidence
    mistakes: dict[Mistake, Evidence]
    shown: dict[Mistake, frozenset[str]]


_read_before: dict[Path, KnownEvidence] = {}  # the cache file read last; forked children inherit it


def diagnose_kata(
    checkout: Checkout, kata: str, seed: int, outcomes: Sequence[Outcome] = ()
) -> tuple[tuple[Diagnosis, ...], str]:
    """The diagnoses of the imported `katas.<kata>`, whose tests gave `outcomes`; if looking failed, none and the reason."""
    path = checkout.probe(kata)
    if not path.is_file():
        return (), ""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
            probe = probes.load_probe(path)
            evidence = probes.gather(probe, importlib.import_module(f"katas.{kata}"), seed)
            known = known_evidence(checkout, kata, probe, seed)
        return tuple(diagnose(probes.cases(probe, seed), evidence, known, outcomes)), ""
    except BaseException as error:  # a diagnosis is an extra: without it the run is still valid
        return (), f"{type(error).__name__}: {text_of(error)}"


def diagnose(
    cases: Iterable[Case], evidence: Evidence, known: KnownEvidence, outcomes: Sequence[Outcome] = ()
) -> list[Diagnosis]:
    """The named mistakes that explain `evidence`, that of a wrong answer whose tests gave `outcomes`.

    Of the mistakes that fit (see `_explained`) those that explain most wrong cases are chosen, one for each case. A
    mistake is due if the test that catches it is of the first stage in which a test fails: that is where the learner
    is. It is told if it is due and no result of its functions, or of functions that mistakes share with them, is wrong
    for another reason, which could be the only one. An error that is not raised is no result: it waits until all wrong
    results are told, or its test is the first that fails. If no chosen mistake is due, one that explains every
    wrong result is told all the same.
    """
    functions = {case.name: case.of for case in cases}
    written = {name for name in functions if not probes.not_started(evidence[name])}
    wrong = {name for name in written if not probes.same(evidence[name], known.reference[name])}
    passed = _passed(outcomes)
    fits = {
        mistake: _explained(evidence, known, mistake, functions, written)
        for mistake in known.shown
        if mistake.caught_by not in passed
    }
    left, chosen = set(wrong), []
    while best := max((m for m in fits if fits[m] & left), key=lambda m: len(fits[m] & left), default=None):
        chosen.append(best)
        left -= fits[best]
    results = {name for name in wrong if not _complaint(known.reference[name])}  # not an error that is missing
    related = [{functions[name] for name in shown} for shown in known.shown.values()]

    def is_explained(mistake: Mistake) -> bool:
        own = {functions[name] for name in fits[mistake]}
        near = own.union(*(group for group in related if group & own))
        return all(functions[name] not in near for name in results & left)

    order = list(functions)
    due = [mistake for mistake in chosen if is_explained(mistake) and _is_due(mistake, outcomes)]
    told_results = results & set().union(*(fits[mistake] for mistake in due))
    first = "" if told_results == results else _first_failure(outcomes)
    due = [mistake for mistake in due if fits[mistake] & results or first in ("", mistake.caught_by)]
    told = due or [mistake for mistake in chosen if results and results <= fits[mistake]]
    whole = {mistake for mistake in told if (results or wrong) <= fits[mistake]}
    told.sort(key=lambda mistake: (mistake not in whole, min(map(order.index, fits[mistake]))))
    return [Diagnosis(mistake.name, mistake.says, mistake in whole) for mistake in told[:MAX_DIAGNOSES]]


def _explained(
    evidence: Evidence, known: KnownEvidence, mistake: Mistake, functions: Mapping[str, str], written: set[str]
) -> set[str]:
    """The cases in which the code behaves like `mistake`; none if it does not fit.

    The function that the mistake shows in first is the one that holds it, so there the code has to be written, and
    like it in every case. In those that use it the code may be wrong in yet another way, but not right.
    """
    theirs = known.mistakes[mistake]
    shown = [name for name in functions if name in known.shown[mistake]]
    first = {name for name in shown if functions[name] == functions[shown[0]]}
    alike = {name for name in shown if name in written and _alike(evidence[name], theirs[name])}
    if not first <= alike or any(probes.same(evidence[name], known.reference[name]) for name in set(shown) - alike):
        return set()
    # Exceptions alone are weak evidence: they count if the code raises them in no other case.
    complaints = {_complaint(theirs[name]) for name in shown}
    elsewhere = {_complaint(evidence[name]) for name in written - set(shown)}
    return alike if None in complaints or not complaints & elsewhere else set()


def _alike(evidence: CaseEvidence, theirs: CaseEvidence) -> bool:
    """Whether two pieces of evidence agree; exceptions only if their messages do."""
    return probes.same(evidence, theirs) and _complaint(evidence) == _complaint(theirs)


def _complaint(evidence: CaseEvidence) -> tuple[str, str] | None:
    """The class and the message of the exception that is the evidence, without its place; None for a value."""
    raised = evidence.get("raised")
    return (raised.name, PLACE.sub("", raised.note)) if isinstance(raised, Raised) else None


def _is_due(mistake: Mistake, outcomes: Sequence[Outcome]) -> bool:
    """Whether the test that catches `mistake` is of the first stage in which a test fails."""
    failing = [o.stage for o in outcomes if o.verdict == "failed"]
    return not failing or min(failing) in {o.stage for o in outcomes if _function(o.test) == mistake.caught_by}


def _first_failure(outcomes: Sequence[Outcome]) -> str:
    """The test function that fails first, which is what the learner sees; empty if none does."""
    failing = [outcome for outcome in outcomes if outcome.verdict == "failed"]
    return _function(min(failing, key=lambda outcome: outcome.stage).test) if failing else ""


def _passed(outcomes: Sequence[Outcome]) -> set[str]:
    """The test functions that ran and passed, with every parameter."""
    return {_function(o.test) for o in outcomes} - {_function(o.test) for o in outcomes if o.verdict != "passed"}


def _function(test: str) -> str:
    return test.partition("[")[0]


def compared(reference: Evidence, mistakes: dict[Mistake, Evidence]) -> KnownEvidence:
    """The evidence of each mistake, compared with the reference's."""
    shown = {
        mistake: frozenset(
            name
            for name, right in reference.items()
            if theirs[name] is not right and not probes.same(theirs[name], right)  # most cases of a mistake are shared
        )
        for mistake, theirs in mistakes.items()
    }
    return KnownEvidence(reference, mistakes, shown)


def known_evidence(
    checkout: Checkout, kata: str, probe: Probe, seed: int, sample: Sequence[Mistake] | None = None
) -> KnownEvidence:
    """The evidence of the reference and of each named mistake, gathered anew only when one of its files has changed.

    With `sample`, at least that of these mistakes; it is saved only if it is that of all.
    """
    cache = _cache_file(checkout, kata, seed)
    if cached := _read_cache(cache):
        return cached
    source = checkout.reference(kata).read_text(encoding="utf-8")
    named = load_mistakes(checkout.mistakes(kata)).named if sample is None else sample
    variants = [mistake.apply(source) for mistake in named]
    reference, *others = gather_variants(probe, kata, source, variants, seed)
    evidence = compared(reference, dict(zip(named, others, strict=True)))
    if sample is not None:
        return evidence
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        for stale in cache.parent.glob(f"{kata}-*.pickle"):
            stale.unlink(missing_ok=True)
        cache.write_bytes(_pickled(evidence))
    except OSError:  # a read-only checkout or a full disk: the next run gathers it again
        pass
    return evidence


def cached_evidence(checkout: Checkout, kata: str, seed: int) -> KnownEvidence | None:
    """The evidence that `known_evidence` has saved, if it is still valid. Runs no kata."""
    return _read_cache(_cache_file(checkout, kata, seed))


def _read_cache(cache: Path) -> KnownEvidence | None:
    if cache not in _read_before:
        try:
            evidence = pickle.loads(cache.read_bytes())
        except Exception:  # absent or damaged: it will be written anew
            return None
        _read_before.clear()
        _read_before[cache] = evidence
    return _read_before[cache]


def _cache_file(checkout: Checkout, kata: str, seed: int) -> Path:
    """A file in `.dojo/cache/`; its name holds a digest of everything that the evidence depends on."""
    files = (checkout.reference(kata), checkout.mistakes(kata), checkout.probe(kata), Path(probes.__file__ or ""))
    parts = [file.read_bytes() for file in files if file.is_file()] + [f"{FORMAT} {seed} {torch.__version__}".encode()]
    return checkout.state / "cache" / f"{kata}-{hashlib.sha256(bytes(1).join(parts)).hexdigest()[:24]}.pickle"


class _Pickler(pickle.Pickler):
    """Writes tensors as plain bytes: torch's own format takes a kilobyte and 150 microseconds for each."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, torch.Tensor):
            return NotImplemented
        raw = obj.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return _tensor, (raw, obj.dtype, tuple(obj.shape))


def _tensor(raw: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


def _pickled(evidence: KnownEvidence) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(evidence)
    return file.getvalue()
