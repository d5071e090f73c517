"""Finds the named mistakes that some code behaves like.

The evidence that the kata's probe gathers from the code is compared with the evidence of each named mistake.
"""

import hashlib
import importlib
import io
import pickle
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.outcome import Diagnosis, text_of
from dojo.core.paths import Checkout
from dojo.engine.evidence import gather_variants
from dojo.testing import probes
from dojo.testing.probes import Case, Evidence, Probe

KnownEvidence = tuple[Evidence, dict[Mistake, Evidence]]  # of the reference, and of each named mistake
MAX_PARTS = 3  # mistakes that `diagnose_partly` gives at most
_read_before: dict[Path, KnownEvidence] = {}  # the cache file read last; forked children inherit it


def diagnose_kata(checkout: Checkout, kata: str, seed: int) -> tuple[tuple[Diagnosis, ...], str]:
    """The diagnoses of the imported `katas.<kata>`; if looking for them failed, none and the reason."""
    path = checkout.probe(kata)
    if not path.is_file():
        return (), ""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
            probe = probes.load_probe(path)
            evidence = probes.gather(probe, importlib.import_module(f"katas.{kata}"), seed)
            reference, mistakes = known_evidence(checkout, kata, probe, seed)
        whole = diagnose(probes.cases(probe, seed), evidence, reference, mistakes)
        parts = diagnose_partly(evidence, reference, mistakes, whole)
    except BaseException as error:  # a diagnosis is an extra: without it the run is still valid
        return (), f"{type(error).__name__}: {text_of(error)}"
    diagnoses = [Diagnosis(m.name, m.says, True) for m in whole] + [Diagnosis(m.name, m.says, False) for m in parts]
    return tuple(diagnoses), ""


def diagnose(
    cases: Iterable[Case], evidence: Evidence, reference: Evidence, mistakes: dict[Mistake, Evidence]
) -> list[Mistake]:
    """The mistakes whose evidence equals `evidence`, at most one for each function that answers wrongly.

    The cases of each function (`Case.of`) are compared separately, so a function that is not written yet, or is wrong in
    another way, hides nothing. Where several mistakes fit a function, the first of those that fit most functions counts.
    """
    cases_of: dict[str, list[str]] = {}
    for case in cases:
        if not probes.not_started(evidence[case.name]):
            cases_of.setdefault(case.of, []).append(case.name)
    fitting: dict[Mistake, set[str]] = {}  # the wrong functions that each mistake fits
    wrong_functions: list[str] = []
    for function, names in cases_of.items():
        if all(probes.same(evidence[name], reference[name]) for name in names):
            continue
        wrong_functions.append(function)
        for mistake, theirs in mistakes.items():
            if all(probes.same(evidence[name], theirs[name]) for name in names):
                fitting.setdefault(mistake, set()).add(function)
    chosen: list[Mistake] = []
    for function in wrong_functions:
        candidates = (mistake for mistake in fitting if function in fitting[mistake])
        best = max(candidates, key=lambda mistake: len(fitting[mistake]), default=None)
        if best and best not in chosen:
            chosen.append(best)
    return chosen


def diagnose_partly(
    evidence: Evidence, reference: Evidence, mistakes: dict[Mistake, Evidence], explained: list[Mistake]
) -> list[Mistake]:
    """The mistakes that code makes together with others: at most `MAX_PARTS`.

    A mistake shows in the cases in which its evidence differs from the reference's. It counts when `evidence` equals its
    evidence in all of these, and when they include a wrong case that neither `explained` nor an earlier mistake explains.
    """

    def differing(other: Evidence) -> set[str]:
        return {n for n in reference if not probes.not_started(evidence[n]) and not probes.same(other[n], reference[n])}

    unexplained = differing(evidence)
    for mistake in explained:
        unexplained -= differing(mistakes[mistake])
    candidates = []
    for mistake, theirs in mistakes.items():
        cases = differing(theirs) if mistake not in explained and unexplained else set()
        if cases and all(probes.same(evidence[name], theirs[name]) for name in cases):
            candidates.append((mistake, cases))
    parts: list[Mistake] = []
    for mistake, cases in sorted(candidates, key=lambda candidate: -len(candidate[1])):
        if cases & unexplained and len(parts) < MAX_PARTS:
            parts.append(mistake)
            unexplained -= cases
    return parts


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
    reference, *others = gather_variants(probe, kata, source, [mistake.apply(source) for mistake in named], seed)
    evidence = reference, dict(zip(named, others, strict=True))
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
    parts = [file.read_bytes() for file in files if file.is_file()] + [f"{seed} {torch.__version__}".encode()]
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
