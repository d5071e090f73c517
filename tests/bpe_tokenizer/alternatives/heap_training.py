"""Training through a heap of stale entries; the rest with as few names as possible."""

import codecs
import itertools
import re
from collections import defaultdict
from heapq import heapify, heappop, heappush

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


def train(words, merges):
    if merges < 0:
        raise ValueError("merges")
    sequences, weights = [list(w) for w in words], list(words.values())
    total, where = defaultdict(int), defaultdict(set)
    for number, ids in enumerate(sequences):
        for pair in itertools.pairwise(ids):
            total[pair] += weights[number]
            where[pair].add(number)
    heap = [(-n, pair) for pair, n in total.items()]
    heapify(heap)
    spelling, out = {b: bytes([b]) for b in range(256)}, []
    while heap and len(out) < merges:
        count, pair = heappop(heap)
        if count == 0 or total[pair] != -count:
            continue  # stale; a newer entry is in the heap
        new = len(spelling)
        spelling[new] = spelling[pair[0]] + spelling[pair[1]]
        out.append((spelling[pair[0]], spelling[pair[1]]))
        touched = set()
        for number in where.pop(pair):
            ids, weight = sequences[number], weights[number]
            for p in itertools.pairwise(ids):
                total[p] -= weight
                touched.add(p)
            k, after = 0, []
            while k < len(ids):
                if k + 1 < len(ids) and ids[k] == pair[0] and ids[k + 1] == pair[1]:
                    after.append(new)
                    k += 1
                else:
                    after.append(ids[k])
                k += 1
            sequences[number] = after
            for p in itertools.pairwise(after):
                total[p] += weight
                where[p].add(number)
                touched.add(p)
        for p in touched:
            if total[p]:
                heappush(heap, (-total[p], p))
    return out


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        self.vocab = {b: bytes([b]) for b in range(256)}
        back = {t: i for i, t in self.vocab.items()}
        self.pairs = {}
        for i, (a, b) in enumerate(merges, 256):
            if a not in back or b not in back:
                raise ValueError("a merge comes too early")
            self.vocab[i] = a + b
            self.pairs[back[a], back[b]] = i
            if back.setdefault(a + b, i) != i:
                raise ValueError("a merge comes twice")
        self.special = {}
        for name, i in (special or {}).items():
            if not name or i in self.vocab:
                raise ValueError("a special token collides")
            self.special[name], self.vocab[i] = i, name.encode()
        names = "|".join(re.escape(name) for name in sorted(self.special, key=len, reverse=True))
        self.split = re.compile(f"({names})") if names else None
        self.words = re.compile(pattern)

    def encode(self, text, *, allow_special=True):
        ids = []
        for part in self.split.split(text) if self.split and allow_special else [text]:
            if allow_special and part in self.special:
                ids.append(self.special[part])
            else:
                for match in self.words.finditer(part):
                    ids.extend(self.bpe(list(match.group(0).encode("utf-8"))))
        return ids

    def bpe(self, ids):
        nxt, prv = [*range(1, len(ids)), -1], [-1, *range(len(ids) - 1)]
        heap = []
        for i in range(len(ids) - 1):
            rank = self.pairs.get((ids[i], ids[i + 1]))
            if rank:
                heap.append((rank, i, i + 1, ids[i], ids[i + 1]))
        heapify(heap)
        while heap:
            rank, i, j, a, b = heappop(heap)
            if ids[i] != a or ids[j] != b or nxt[i] != j:
                continue
            ids[i], ids[j] = rank, -1
            nxt[i] = nxt[j]
            if nxt[j] >= 0:
                prv[nxt[j]] = i
            for x, y in ((prv[i], i), (i, nxt[i])):
                if x >= 0 and y >= 0 and (r := self.pairs.get((ids[x], ids[y]))):
                    heappush(heap, (r, x, y, ids[x], ids[y]))
        return [i for i in ids if i >= 0]

    def decode(self, ids):
        ids = list(ids)
        if unknown := set(ids) - set(self.vocab):
            raise ValueError(f"unknown: {unknown}")
        return b"".join([self.vocab[i] for i in ids]).decode("utf-8", errors="replace")

    def decode_stream(self, ids):
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for i in ids:
            if i not in self.vocab:
                raise ValueError(f"unknown: {i}")
            text = decoder.decode(self.vocab[i])
            if text:
                yield text
        yield decoder.decode(b"", True)
