"""Finds pairs of similar files in a class.

Names, comments, docstrings and layout are removed, and fingerprints of short runs of the remaining tokens are compared
(winnowing: Schleimer, Wilkerson, Aiken, "Winnowing: local algorithms for document fingerprinting", 2003). Runs that many
write, or that are published, do not count. A pair is a note for a person, never a verdict: a short kata has few right
answers.
"""

import hashlib
import io
import keyword
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

RUN_TOKENS = 12
WINDOW_RUNS = 8  # of this many neighbouring runs, the one with the smallest hash is a fingerprint
MIN_FINGERPRINTS = 20  # a file with fewer is not compared
MIN_SHARE = 0.8  # of the smaller file's fingerprints, which a similar pair has in common
# A fingerprint that more files hold than this is common: a share of the class, at least 5, at most 30 files.
COMMON_SHARE, MIN_COMMON_FILES, MAX_COMMON_FILES = 0.2, 5, 30
MAX_FINGERPRINTS = 500  # of a file; comparing more would take long and change little
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class SimilarPair:
    """Two similar files of one kata, by SHA-256. `share` of the smaller one's fingerprints are in both."""

    kata: str
    a: str
    b: str
    share: float


def fingerprints(source: str) -> frozenset[int]:
    """The fingerprints of the code in `source`; empty if it is no Python, or too short."""
    try:
        stream = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return frozenset()
    tokens: list[str] = []
    starts_statement = True
    for token in stream:
        if token.type == tokenize.STRING and starts_statement:
            continue  # a docstring
        starts_statement = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL) or (
            starts_statement and token.type in LAYOUT
        )
        if token.type in LAYOUT:
            continue
        is_free = token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING) and not keyword.iskeyword(
            token.string
        )
        tokens.append(tokenize.tok_name[token.type] if is_free else token.string)  # names and literals are removed
    runs = [_hash(" ".join(tokens[i : i + RUN_TOKENS])) for i in range(len(tokens) - RUN_TOKENS + 1)]
    return frozenset(min(runs[i : i + WINDOW_RUNS]) for i in range(max(1, len(runs) - WINDOW_RUNS + 1)) if runs)


def find_similar(kata: str, sources: dict[str, str], published: Iterable[str]) -> list[SimilarPair]:
    """The similar pairs among `sources` (SHA-256 -> text), the most similar first.

    Fingerprints of the `published` texts (the stub, the reference) do not count.
    """
    public = frozenset().union(*map(fingerprints, published))
    by_file = {sha256: fingerprints(source) - public for sha256, source in sources.items()}
    holder_counts = Counter(fingerprint for of_file in by_file.values() for fingerprint in of_file)
    max_holders = min(MAX_COMMON_FILES, max(MIN_COMMON_FILES, int(COMMON_SHARE * len(by_file))))
    by_file = {
        sha256: frozenset(sorted(f for f in of_file if holder_counts[f] <= max_holders)[:MAX_FINGERPRINTS])
        for sha256, of_file in by_file.items()
    }
    holders: dict[int, list[str]] = defaultdict(list)
    for sha256, of_file in by_file.items():
        for fingerprint in of_file if len(of_file) >= MIN_FINGERPRINTS else ():
            holders[fingerprint].append(sha256)
    shared: Counter[tuple[str, str]] = Counter()
    for hashes in holders.values():
        shared.update(combinations(sorted(hashes), 2))
    pairs = []
    for (a, b), count in shared.items():
        share = count / min(len(by_file[a]), len(by_file[b]))
        if share >= MIN_SHARE:
            pairs.append(SimilarPair(kata, a, b, round(share, 3)))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.a, pair.b))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
