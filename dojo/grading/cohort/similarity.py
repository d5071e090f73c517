"""Which files of a class are alike, though they are not what everybody writes.

Names, comments, docstrings and layout are taken away, then short runs of what is left are compared (winnowing:
Schleimer, Wilkerson, Aiken, "Winnowing: local algorithms for document fingerprinting", 2003). A note for a person to
look at, never a verdict: a short kata has few right answers.
"""

import hashlib
import io
import keyword
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

RUN, WINDOW = 12, 8  # tokens in a run; of so many neighbouring runs one is kept
LEAST = 20  # fingerprints of its own that a file must have to be compared at all
ALIKE = 0.8  # share of those that two files have in common
COMMON = 0.2  # a run that so many of a class write is nobody's own; in a small class, one that five write
MANY, KEPT = 30, 500  # of holders of a run, of runs of a file: more would take long and tell nothing new
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
class Alike:
    """Two files of one kata, by content; `share` of what is their own is common to both."""

    kata: str
    a: str
    b: str
    share: float


def fingerprints(source: str) -> frozenset[int]:
    """Of the code alone; empty when it cannot be read."""
    tokens: list[str] = []
    try:
        stream = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return frozenset()
    start = True
    for token in stream:
        if token.type == tokenize.STRING and start:
            continue  # a docstring
        start = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL) or (start and token.type in LAYOUT)
        if token.type in LAYOUT:
            continue
        known = keyword.iskeyword(token.string) or token.type not in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
        tokens.append(token.string if known else tokenize.tok_name[token.type])
    runs = [_hash(" ".join(tokens[i : i + RUN])) for i in range(len(tokens) - RUN + 1)]
    return frozenset(min(runs[i : i + WINDOW]) for i in range(max(1, len(runs) - WINDOW + 1)) if runs)


def alike(kata: str, sources: dict[str, str], published: Iterable[str]) -> list[Alike]:
    """Pairs among `sources` (content hash -> text); what `published` texts (stub, reference) hold is nobody's own."""
    given = frozenset().union(*map(fingerprints, published))
    own = {sha: fingerprints(source) - given for sha, source in sources.items()}
    counts = Counter(mark for marks in own.values() for mark in marks)
    most = min(MANY, max(5, int(COMMON * len(own))))
    own = {sha: frozenset(sorted(m for m in marks if counts[m] <= most)[:KEPT]) for sha, marks in own.items()}
    holders: dict[int, list[str]] = defaultdict(list)
    for sha, marks in own.items():
        for mark in marks if len(marks) >= LEAST else ():
            holders[mark].append(sha)
    shared: Counter[tuple[str, str]] = Counter()
    for shas in holders.values():
        shared.update(combinations(sorted(shas), 2))
    found = []
    for (a, b), count in shared.items():
        share = count / min(len(own[a]), len(own[b]))
        if share >= ALIKE:
            found.append(Alike(kata, a, b, round(share, 3)))
    return sorted(found, key=lambda pair: (-pair.share, pair.a, pair.b))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
