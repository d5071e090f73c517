"""No heap: the places of each merge wait in a bucket, and buckets are emptied in the order of the merges."""

import codecs
import itertools
import re
from collections import defaultdict
from functools import lru_cache

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


def train(words, merges):
    if merges < 0:
        raise ValueError(f"{merges} merges")
    frozen = {tuple(word): n for word, n in words.items()}
    text = [bytes((b,)) for b in range(256)]
    for new in range(256, 256 + merges):
        table = defaultdict(int)
        for ids, n in frozen.items():
            for pair in itertools.pairwise(ids):
                table[pair] += n
        if not table:
            break
        pair = max(table, key=lambda p: (table[p], -p[0], -p[1]))
        text.append((text[pair[0]], text[pair[1]]))
        again = defaultdict(int)
        for ids, n in frozen.items():
            again[swap(ids, pair, new)] += n
        frozen = again
        text[new] = Learned(text[pair[0]], text[pair[1]])
    return [(bytes(token.left), bytes(token.right)) for token in text[256:]]


class Learned(bytes):
    def __new__(cls, left, right):
        token = super().__new__(cls, left + right)
        token.left, token.right = left, right
        return token


def swap(ids, pair, new):
    out = ()
    while len(ids) > 1:
        step = 2 if ids[:2] == pair else 1
        out += (new,) if step == 2 else ids[:1]
        ids = ids[step:]
    return out + ids


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        tokens = {bytes((b,)): b for b in range(256)}
        self.order = {}
        for a, b in merges:
            try:
                pair = tokens[a], tokens[b]
            except KeyError:
                raise ValueError("a part of a merge is not known") from None
            if a + b in tokens:
                raise ValueError("a token twice")
            self.order[pair] = tokens[a + b] = len(tokens)
        self.vocab = {id: token for token, id in tokens.items()}
        self.special = dict(special or ())
        for name in self.special:
            id = self.special[name]
            if id in self.vocab or len(name) == 0:
                raise ValueError("special")
            self.vocab.setdefault(id, name.encode())
        self.find = re.compile(pattern).finditer
        self.cached = lru_cache(maxsize=1000)(self.merge)

    def encode(self, text, *, allow_special=True):
        if not allow_special or not self.special:
            return [id for match in self.find(text) for id in self.cached(match.group().encode())]
        longest = sorted(self.special, key=len)[::-1]
        out, rest = [], text
        for found in re.finditer("|".join(re.escape(name) for name in longest), text):
            plain = rest[: found.start() - (len(text) - len(rest))]
            out += [*self.encode(plain, allow_special=False), self.special[found.group()]]
            rest = text[found.end() :]
        return out + self.encode(rest, allow_special=False)

    def merge(self, word):
        ids = dict(enumerate(word))
        behind = {i: i + 1 for i in ids}
        ahead = {i + 1: i for i in ids}
        waiting = defaultdict(list)
        for i in range(len(word) - 1):
            if (rank := self.order.get((word[i], word[i + 1]))) is not None:
                waiting[rank].append(i)
        while waiting:  # there are no more buckets than merges, and a merge's result never goes into an earlier one
            rank = min(waiting)
            for i in sorted(waiting.pop(rank)):
                j = behind.get(i)
                if i not in ids or j not in ids or self.order.get((ids[i], ids[j])) != rank:
                    continue
                ids[i] = rank
                del ids[j]
                behind[i] = behind.pop(j)
                ahead[behind[i]] = i
                for k in (ahead.get(i), i):
                    pair = ids.get(k), ids.get(behind.get(k))
                    if pair in self.order and self.order[pair] != rank:
                        waiting[self.order[pair]].append(k)
        return tuple(ids[i] for i in sorted(ids))

    def decode(self, ids):
        return codecs.decode(b"".join(map(self.token, ids)), "utf-8", "replace")

    def decode_stream(self, ids):
        decoder = codecs.lookup("utf-8").incrementaldecoder("replace")
        for id in ids:
            yield from decoder.decode(self.token(id))
        yield from decoder.decode(b"", True)

    def token(self, id):
        token = self.vocab.get(id)
        if token is None:
            raise ValueError(f"{id}?")
        return token
