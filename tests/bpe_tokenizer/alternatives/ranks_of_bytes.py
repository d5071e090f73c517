"""In tiktoken's manner: the rank of what two neighbours spell together, with slices of the word as tokens."""

import heapq
import re
from collections import Counter

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


def train(words, merges):
    if merges < 0:
        raise ValueError("negative")
    rank = {bytes([b]): b for b in range(256)}
    corpus = [([bytes([b]) for b in word], n) for word, n in words.items()]
    result = []
    for step in range(merges):
        stats = Counter()
        for parts, n in corpus:
            for i in range(len(parts) - 1):
                stats[parts[i], parts[i + 1]] += n
        if not stats:
            return result
        top = max(stats.values())
        pair = min((p for p in stats if stats[p] == top), key=lambda p: (rank[p[0]], rank[p[1]]))
        for parts, _ in corpus:
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == pair:
                    parts[i : i + 2] = [pair[0] + pair[1]]
                i += 1
        rank[pair[0] + pair[1]] = 256 + step
        result.append(pair)
    return result


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        self.rank = {bytes([b]): b for b in range(256)}
        for a, b in merges:
            if a not in self.rank or b not in self.rank or a + b in self.rank:
                raise ValueError("merges are not in order, or not different")
            self.rank[a + b] = len(self.rank)
        self.vocab = {i: token for token, i in self.rank.items()}
        self.special = {**(special or {})}
        taken = [*self.vocab, *self.special.values()]
        if "" in self.special or len(set(taken)) < len(taken):
            raise ValueError("special")
        self.vocab.update((i, text.encode("utf-8")) for text, i in self.special.items())
        self.pattern = pattern

    def encode(self, text, *, allow_special=True):
        if not text:
            return []
        found = [s for s in self.special if s in text] if allow_special else []
        if not found:
            return [i for m in re.finditer(self.pattern, text) for i in self.word(m.group().encode())]
        first = min(found, key=lambda s: (text.index(s), -len(s)))
        before, _, rest = text.partition(first)
        return [*self.encode(before), self.special[first], *self.encode(rest, allow_special=True)]

    def word(self, raw):
        ends = {i: i + 1 for i in range(len(raw))}  # begin of a token -> its end
        starts = {i + 1: i for i in range(len(raw))}
        heap = []

        def push(i):
            j = ends.get(i)
            if j in ends and (r := self.rank.get(raw[i : ends[j]])) is not None:
                heapq.heappush(heap, (r, i, ends[j]))

        for i in range(len(raw)):
            push(i)
        while heap:
            _, i, end = heapq.heappop(heap)
            middle = ends.get(i)
            if middle is None or ends.get(middle) != end:
                continue
            del ends[middle], starts[middle]
            ends[i], starts[end] = end, i
            push(i)
            if i in starts:
                push(starts[i])
        return [self.rank[raw[i:end]] for i, end in sorted(ends.items())]

    def decode(self, ids):
        try:
            return b"".join(self.vocab[i] for i in ids).decode("utf-8", "replace")
        except KeyError as error:
            raise ValueError("unknown") from error

    def decode_stream(self, ids):
        held = b""
        for i in ids:
            if i not in self.vocab:
                raise ValueError("unknown")
            held += self.vocab[i]
            try:
                ready, held = held.decode(), b""
            except UnicodeDecodeError:
                cut = len(held)
                for back in range(1, min(3, len(held)) + 1):  # where an unfinished character may begin
                    tail = held[-back:]
                    try:
                        tail.decode()
                    except UnicodeDecodeError as error:
                        if error.reason == "unexpected end of data" and error.start == 0:
                            cut = len(held) - back
                ready, held = held[:cut].decode(errors="replace"), held[cut:]
            if ready:
                yield ready
        if held:
            yield held.decode(errors="replace")
