"""Slow and plain definitions of training and encoding, and random words."""

from collections import Counter
from itertools import pairwise

from dojo.testing import Wrong, randint

WORKED = [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]  # of b"aaabdaaabac"


def replaced(ids, pair, new):
    """Every `pair` of `ids` made into `new`, from left to right, without overlap."""
    result, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == pair
        result.append(new if found else ids[i])
        i += 2 if found else 1
    return result


def learned(words, merges):
    """The rules of training, word for word: count everything anew for each merge."""
    tokens, spelled = [bytes([value]) for value in range(256)], [(list(word), count) for word, count in words.items()]
    result = []
    for _ in range(merges):
        totals = Counter()
        for ids, count in spelled:
            for pair in pairwise(ids):
                totals[pair] += count
        if not totals:
            break
        left, right = best = min(totals, key=lambda pair: (-totals[pair], pair))
        spelled = [(replaced(ids, best, len(tokens)), count) for ids, count in spelled]
        result.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return result


def replay(merges, word):
    """Encoding by its definition: all merges in their order, each wherever it fits."""
    ids, known = list(word), {bytes([value]): value for value in range(256)}
    for number, (left, right) in enumerate(merges):
        pair = known[left], known[right]
        if pair in pairwise(ids):  # which is fast; most merges of a long list are not there
            ids = replaced(ids, pair, 256 + number)
        known[left + right] = 256 + number
    return ids


def random_words(rng, count, longest, letters=b"abc"):
    """`count` words (fewer if some are equal) of 1 to `longest` letters, with counts of 1 to 4."""
    lengths = randint(rng, 1, longest + 1, count).tolist()
    spelled = [bytes(letters[i] for i in randint(rng, 0, len(letters), length).tolist()) for length in lengths]
    return dict(zip(spelled, randint(rng, 1, 5, count).tolist(), strict=True))


def expect_merges(actual, expected, words, hint):
    """Merges are equal, or the first that differs is named."""
    if not isinstance(actual, list):
        raise Wrong(f"train should return a list of pairs, but returned {type(actual).__name__}", hint=hint)
    shown = words if len(str(words)) < 300 else f"{len(words)} words"
    for number, (one, other) in enumerate(zip(actual, expected, strict=False)):
        if one != other:
            raise Wrong(f"train({shown}, ...)[{number}] should be {other}, but is {one}", hint=hint)
    if len(actual) != len(expected):
        raise Wrong(f"train({shown}, ...) should give {len(expected)} merges, but gave {len(actual)}", hint=hint)
