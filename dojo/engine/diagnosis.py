"""Which named mistake some code behaves like: its evidence from the probe, compared with that of each mistake."""

import hashlib
import io
import pickle
import warnings
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine import diagnosis
from dojo.testing import probes
from dojo.testing.probes import Case, Evidence, Probe

if TYPE_CHECKING:
    pass

Known = tuple[Evidence, dict[Mistake, Evidence]]  # of the reference, and of each named mistake
_recalled: dict[Path, Known] = {}  # what a warm process read before it forked


def gather_known(checkout: Checkout, kata: str, probe: Probe, seed: int) -> Known:
    """The evidence of the reference and of each named mistake, from `.dojo/cache/` when nothing has changed since."""
    if known := recall(checkout, kata, seed):
        return known
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    named = load_mistakes(checkout.mistakes(kata)).named
    right = _evidence(probe, kata, reference, seed)
    wrong = {mistake: _evidence(probe, kata, mistake.apply(reference), seed) for mistake in named}
    cache = _cache(checkout, kata, seed)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        for stale in cache.parent.glob(f"{kata}-*.pickle"):
            stale.unlink(missing_ok=True)
        cache.write_bytes(_packed((right, wrong)))
    except OSError:
        pass
    return right, wrong


def recall(checkout: Checkout, kata: str, seed: int) -> Known | None:
    """What `gather_known` found before, if nothing has changed since. Runs no kata."""
    cache = _cache(checkout, kata, seed)
    if cache not in _recalled:
        try:
            known = pickle.loads(cache.read_bytes())
        except Exception:  # absent, or damaged: it is only a cache
            return None
        _recalled.clear()
        _recalled[cache] = known
    return _recalled[cache]


def _cache(checkout: Checkout, kata: str, seed: int) -> Path:
    files = (checkout.reference(kata), checkout.mistakes(kata), checkout.probe(kata), Path(probes.__file__ or ""))
    parts = [file.read_bytes() for file in files if file.is_file()] + [f"{seed} {torch.__version__}".encode()]
    return checkout.state / "cache" / f"{kata}-{hashlib.sha256(bytes(1).join(parts)).hexdigest()[:24]}.pickle"


def _evidence(probe: Probe, kata: str, source: str, seed: int) -> Evidence:
    return probes.gather(probe, probes.load_module(f"reference_{kata}", source, f"<{kata}>"), seed)


class _Packer(pickle.Pickler):
    """Tensors as plain bytes: torch's own way costs a kilobyte and 150 microseconds for each."""

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, torch.Tensor):
            return NotImplemented
        raw = thing.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return _unpacked, (raw, thing.dtype, tuple(thing.shape))


def _unpacked(raw: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


def _packed(known: Any) -> bytes:
    file = io.BytesIO()
    _Packer(file, protocol=5).dump(known)
    return file.getvalue()


def name_mistakes(
    cases: Iterable[Case], seen: Evidence, right: Evidence, wrong: dict[Mistake, Evidence]
) -> list[Mistake]:
    """The named mistakes whose evidence equals `seen`, at most one for each function that answers wrongly.

    Functions are judged apart (by the cases' `of`), so one that is not written yet, or wrong in another way, hides
    nothing; where several mistakes fit a function equally, the first that fits most functions is named.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        if not probes.not_started(seen[case.name]):
            groups.setdefault(case.of, []).append(case.name)
    fits: dict[Mistake, set[str]] = {}
    broken: list[str] = []
    for of, names in groups.items():
        if all(probes.same(seen[n], right[n]) for n in names):
            continue
        broken.append(of)
        for mistake, evidence in wrong.items():
            if all(probes.same(seen[n], evidence[n]) for n in names):
                fits.setdefault(mistake, set()).add(of)
    named: list[Mistake] = []
    for of in broken:
        best = max((m for m in fits if of in fits[m]), key=lambda m: len(fits[m]), default=None)
        if best and best not in named:
            named.append(best)
    return named


def name_parts(seen: Evidence, right: Evidence, wrong: dict[Mistake, Evidence], named: list[Mistake]) -> list[Mistake]:
    """For code that makes several mistakes at once: those that `seen` shows wherever they show at all, three at most.

    A mistake counts when on every case where it differs from the reference `seen` equals it. Those in `named` are
    already told; what they explain is not explained twice.
    """

    def shows(evidence: Evidence) -> set[str]:
        return {n for n in right if not probes.not_started(seen[n]) and not probes.same(evidence[n], right[n])}

    unexplained = shows(seen)
    for mistake in named:
        unexplained -= shows(wrong[mistake])
    candidates = []
    for mistake, evidence in wrong.items():
        cases = shows(evidence) if mistake not in named and unexplained else set()
        if cases and all(probes.same(seen[n], evidence[n]) for n in cases):
            candidates.append((mistake, cases))
    parts: list[Mistake] = []
    for mistake, cases in sorted(candidates, key=lambda c: -len(c[1])):
        if cases & unexplained and len(parts) < 3:
            parts.append(mistake)
            unexplained -= cases
    return parts


SAYS = "Your result is exactly what you get when"

PARTLY = "Part of your result is exactly what you get when"


def find_mistakes(checkout: Checkout, kata: str, seed: int) -> tuple[list[tuple[Mistake, str]], str]:
    """The mistakes that the imported kata behaves like, each with a sentence without its full stop; or why none."""
    path = checkout.probe(kata)
    if not path.is_file():
        return [], ""
    try:
        import importlib

        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
            probe = probes.load_probe(path)
            seen = probes.gather(probe, importlib.import_module(f"katas.{kata}"), seed)
            right, wrong = diagnosis.gather_known(checkout, kata, probe, seed)
        whole = diagnosis.name_mistakes(probes.cases(probe, seed), seen, right, wrong)
        parts = diagnosis.name_parts(seen, right, wrong, whole)
    except (Exception, KeyboardInterrupt) as error:  # naming is a courtesy: it never breaks a run
        return [], f"{type(error).__name__}: {error}"
    return [(m, f"{SAYS} {m.says}") for m in whole] + [(m, f"{PARTLY} {m.says}") for m in parts], ""
