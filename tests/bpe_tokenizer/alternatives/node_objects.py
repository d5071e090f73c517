"""Tokens as linked objects, encoded through a heap with a counter; training keeps where each pair stands."""

import heapq
import itertools
import re

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


class Node:
    __slots__ = ("id", "left", "place", "right")

    def __init__(self, id, place):
        self.id, self.place, self.left, self.right = id, place, None, None


def chain(values):
    nodes = [Node(value, place) for place, value in enumerate(values)]
    for a, b in itertools.pairwise(nodes):
        a.right, b.left = b, a
    return nodes


def fuse(node, new):
    gone = node.right
    node.id, node.right, gone.id = new, gone.right, None
    if node.right:
        node.right.left = node


def train(words, merges):
    if merges < 0:
        raise ValueError("merges must be >= 0")
    chains = [(chain(word), count) for word, count in words.items()]
    names, learned = [bytes([b]) for b in range(256)], []
    while len(learned) < merges:
        where = {}
        for nodes, count in chains:
            for node in nodes:
                if node.id is not None and node.right:
                    total, places = where.get((node.id, node.right.id), (0, []))
                    where[node.id, node.right.id] = total + count, [*places[-(10**9) :], node]
        if not where:
            break
        pair = sorted(where, key=lambda p: (-where[p][0], *p))[0]
        for node in where[pair][1]:
            if node.id == pair[0] and node.right and node.right.id == pair[1]:
                fuse(node, len(names))
        learned.append((names[pair[0]], names[pair[1]]))
        names.append(b"".join(learned[-1]))
    return learned


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        self.vocab, known, self.rules = {}, {}, {}
        for b in range(256):
            self._add(known, b, bytes([b]))
        for pair in merges:
            if not (pair[0] in known and pair[1] in known):
                raise ValueError("part unknown")
            self.rules[known[pair[0]], known[pair[1]]] = len(known)
            self._add(known, len(known), pair[0] + pair[1])
        self.names = special.copy() if special is not None else {}
        for name, id in self.names.items():
            if name == "" or id in self.vocab:
                raise ValueError("special")
            self.vocab[id] = name.encode()
        self.compiled = re.compile(pattern)

    def _add(self, known, id, token):
        if token in known:
            raise ValueError("twice")
        known[token] = id
        self.vocab[id] = token

    def encode(self, text, *, allow_special=True):
        out, plain, place = [], 0, 0
        while allow_special and place < len(text):
            here = [name for name in self.names if text.startswith(name, place)]
            if here:
                name = max(here, key=len)
                out += [*self._plain(text[plain:place]), self.names[name]]
                place = plain = place + len(name)
            else:
                place += 1
        return out + self._plain(text[plain:])

    def _plain(self, text):
        out = []
        for match in self.compiled.finditer(text):
            nodes = chain(match.group(0).encode())
            heap = []
            for node in nodes:
                self._offer(heap, node)
            while heap:
                new, _, node = heapq.heappop(heap)
                if node.id is None or node.right is None or self.rules.get((node.id, node.right.id)) != new:
                    continue
                fuse(node, new)
                self._offer(heap, node)
                if node.left:
                    self._offer(heap, node.left)
            out += [node.id for node in nodes if node.id is not None]
        return out

    def _offer(self, heap, node):
        new = node.right and self.rules.get((node.id, node.right.id))
        if new:
            heapq.heappush(heap, (new, node.place, node))

    def decode(self, ids):
        raw = bytearray()
        for id in ids:
            if id not in self.vocab:
                raise ValueError(id)
            raw.extend(self.vocab[id])
        return raw.decode(errors="replace")

    def decode_stream(self, ids):
        raw, shown = b"", 0  # everything so far, and how many characters of it were shown
        for id in ids:
            raw += self.decode_bytes(id)
            ready = self.complete(raw)
            yield ready[shown:]
            shown = len(ready)
        yield raw.decode(errors="replace")[shown:]

    def decode_bytes(self, id):
        try:
            return self.vocab[id]
        except KeyError:
            raise ValueError(id) from None

    @staticmethod
    def complete(raw):
        for back in (1, 2, 3):
            try:
                raw[-back:].decode()
            except UnicodeDecodeError as error:
                if back <= len(raw) and (error.start, error.reason) == (0, "unexpected end of data"):
                    return raw[:-back].decode(errors="replace")
        return raw.decode(errors="replace")
