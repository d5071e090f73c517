"""Reads and writes `tests/<kata>/differences.json`: the cases of the probe in which each named mistake differs from the reference.

    {"multiplies by the temperature": "6f3a91c2 .xx..x"}

Eight digits of a digest, then a character for each case, x where the mistake differs. Evidence itself depends on the machine
and is large; where it differs does neither. An entry whose digest is not that of the reference, the mistake and the probe
is out of date and is ignored.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dojo.core import files
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout


def read(
    checkout: Checkout, kata: str, names: Sequence[str], named: Sequence[Mistake]
) -> dict[Mistake, frozenset[str]]:
    """Which of the cases `names` a mistake differs in, for each of the `named` whose entry is up to date."""
    entries = _entries(checkout, kata)
    listed = {}
    for mistake, digest in _digests(checkout, kata, named).items():
        found, _, marks = entries.get(mistake.name, "").partition(" ")
        if found == digest and len(marks) == len(names):
            listed[mistake] = frozenset(name for name, mark in zip(names, marks, strict=True) if mark == "x")
    return listed


def write(checkout: Checkout, kata: str, names: Sequence[str], shown: Mapping[Mistake, frozenset[str]]) -> Path:
    """Writes where the mistakes in `shown` differ among the cases `names`. Returns the file."""
    entries = {
        mistake.name: f"{digest} {''.join('x' if name in shown[mistake] else '.' for name in names)}"
        for mistake, digest in _digests(checkout, kata, list(shown)).items()
    }
    file = checkout.differences(kata)
    files.write(file, json.dumps(entries, indent=0, ensure_ascii=False) + "\n")
    return file


def is_current(checkout: Checkout, kata: str) -> bool:
    """Whether the file has an entry for each named mistake, all of them up to date, and no other."""
    digests = _digests(checkout, kata, load_mistakes(checkout.mistakes(kata)).named)
    wanted = {mistake.name: digest for mistake, digest in digests.items()}
    return wanted == {name: entry.partition(" ")[0] for name, entry in _entries(checkout, kata).items()}


def _entries(checkout: Checkout, kata: str) -> dict[str, str]:
    """What the file holds; nothing if it is absent or damaged: then evidence is gathered as if there were none."""
    try:
        entries = json.loads(checkout.differences(kata).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) and all(isinstance(e, str) for e in entries.values()) else {}


def _digests(checkout: Checkout, kata: str, named: Sequence[Mistake]) -> dict[Mistake, str]:
    """A digest of the reference, the probe and the wrong source, for each mistake that still fits the reference."""
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    common = hashlib.sha256(f"{reference}\0{checkout.probe(kata).read_text(encoding='utf-8')}\0".encode())
    digests = {}
    for mistake in named:
        try:
            wrong = mistake.apply(reference)
        except UserError:
            continue
        digest = common.copy()
        digest.update(wrong.encode())
        digests[mistake] = digest.hexdigest()[:8]
    return digests
