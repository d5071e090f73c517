"""All occurrences of a merge at once, in numpy; a pass for each merge costs little there."""

import codecs
import re

import numpy as np

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


def fused(ids, left, right, new):
    at = (ids[:-1] == left) & (ids[1:] == right)
    if not at.any():
        return ids
    if left == right:  # of a run only every second place
        places = np.arange(len(at))
        begins = at & ~np.concatenate(([False], at[:-1]))
        since = places - np.maximum.accumulate(np.where(begins, places, 0))
        at &= since % 2 == 0
    ids = ids.copy()
    ids[:-1][at] = new
    return ids[np.concatenate(([True], ~at))]


def train(words, merges):
    if merges < 0:
        raise ValueError("negative")
    spelled, counts = [np.frombuffer(w, np.uint8).astype(np.int64) for w in words], [*words.values()]
    tokens, result = [bytes([b]) for b in range(256)], []
    for _ in range(merges):
        lefts = np.concatenate([s[:-1] for s in spelled] or [np.zeros(0, np.int64)])
        rights = np.concatenate([s[1:] for s in spelled] or [np.zeros(0, np.int64)])
        if not len(lefts):
            break
        weights = np.repeat(counts, [max(len(s) - 1, 0) for s in spelled])
        keys, places = np.unique(lefts << 32 | rights, return_inverse=True)
        best = int(keys[np.argmax(np.bincount(places, weights))])  # keys are sorted, and argmax takes the first
        left, right = best >> 32, best & (2**32 - 1)
        spelled = [fused(s, left, right, len(tokens)) for s in spelled]
        result.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return result


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        tokens = [bytes([b]) for b in range(256)]
        self.table = []
        for a, b in merges:
            if a + b in tokens:
                raise ValueError("known already")
            self.table.append((tokens.index(a), tokens.index(b), len(tokens)))  # ValueError where a part is unknown
            tokens.append(a + b)
        self.vocab = dict(enumerate(tokens))
        self.special = dict(special) if special else {}
        for text, number in self.special.items():
            if not text or number in self.vocab:
                raise ValueError("bad special token")
            self.vocab[number] = bytes(text, "utf-8")
        self.pattern = pattern

    def encode(self, text, *, allow_special=True):
        names = sorted(self.special, key=lambda name: -len(name)) if allow_special else []
        parts = re.split("(" + "|".join(re.escape(n) for n in names) + ")", text) if names else [text]
        ids = []
        for place, part in enumerate(parts):
            if place % 2:
                ids.append(self.special[part])
                continue
            for match in re.finditer(self.pattern, part):
                word = np.frombuffer(match[0].encode(), np.uint8).astype(np.int64)
                for left, right, new in self.table:
                    word = fused(word, left, right, new)
                ids.extend(word.tolist())
        return ids

    def decode(self, ids):
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids):
        return codecs.iterdecode(map(self._bytes, ids), "utf-8", "replace")

    def _bytes(self, number):
        if number in self.vocab:
            return self.vocab[number]
        raise ValueError("no such id")
