"""A byte-level BPE tokenizer.

How does a language model's tokenizer learn its vocabulary? Train one, encode, decode, and decode a stream. Why bytes and
not characters? What if two pairs are equally frequent?

A text is cut into words by a pattern, and every word is a sequence of bytes. Training counts which two neighbouring
tokens stand together most often, makes them one new token everywhere, and counts again. Encoding repeats these merges in
the order in which they were learned; it does not look for the longest token.

Rules. Tokens 0 to 255 are the single bytes; then come the merged ones, in the order of the merges.
  - The most frequent pair is merged. A pair is counted at every place where it stands, times the count of the word:
    three equal bytes hold their pair twice. Among equally frequent pairs the one with the smaller left id is merged,
    and among those the one with the smaller right id.
  - A merge replaces its pair from left to right, without overlap: of three equal bytes the first two become one.
  - No pair spans two words.
No argument is modified. Two tokenizers share nothing. The single-byte alphabet has no unknown text: every str without
lone surrogates comes back as it was.

Stage 1: training, encoding, decoding.  Stage 2: ties, runs of one byte, special tokens, patterns, wrong arguments.
Stage 3: text that is not ASCII, bytes that are no text, streams.  Stage 4: a long word is encoded in O(n log n) steps:
at most 150 executed lines of this file a byte, for a word of 1200 bytes and 676 merges and for a run of 2999 equal bytes.
One pass over the word for each merge takes more.

Sources: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016); Radford et al.,
"Language Models are Unsupervised Multitask Learners" (2019), for bytes.
"""

import codecs
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

# Given. GPT-2's pattern, for Python's re: contractions; a word, a number or punctuation, each with the space before it;
# white space, whose last character goes to the word behind it. It leaves out no character.
GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"


def train(words: Mapping[bytes, int], merges: int) -> list[tuple[bytes, bytes]]:
    """The merges that are learned from `words` (word -> how often it occurs, at least once), the first one first.

    A merge is given as the bytes of its two parts. There are `merges` of them, or fewer if no pair is left; a pair that
    occurs once is merged too. The order of the words does not matter. Raises ValueError if `merges` is negative.
    """
    # kata: begin
    if merges < 0:
        raise ValueError(f"the number of merges must not be negative, got {merges}")
    tokens = [bytes([value]) for value in range(256)]
    spelled, counts = [list(word) for word in words], list(words.values())
    totals: Counter[tuple[int, int]] = Counter()
    holders = defaultdict(set)  # pair -> the words that hold it, or have held it

    def count(word: int, sign: int) -> None:
        for pair in pairwise(spelled[word]):
            totals[pair] += sign * counts[word]
            holders[pair].add(word)

    for word in range(len(spelled)):
        count(word, 1)
    learned: list[tuple[bytes, bytes]] = []
    while len(learned) < merges and totals:
        left, right = best = min(totals, key=lambda pair: (-totals[pair], pair))
        for word in holders[best]:  # only these change
            count(word, -1)
            spelled[word] = _merged(spelled[word], best, len(tokens))
            count(word, 1)
        for pair in [pair for pair, total in totals.items() if not total]:
            del totals[pair]
        learned.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return learned
    # kata: end


# kata: begin
def _merged(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """`ids` with `new` in the place of every `pair`, from left to right."""
    result: list[int] = []
    for id in ids:
        result.append(id)
        if tuple(result[-2:]) == pair:
            result[-2:] = [new]  # which is no part of the pair, so nothing overlaps
    return result


# kata: end


class Tokenizer:
    """Encodes text with merges that were learned, and decodes it.

    `vocab` is a dict from each id to the bytes of its token, the special tokens' UTF-8 included.
    """

    vocab: dict[int, bytes]

    def __init__(
        self, merges: list[tuple[bytes, bytes]], special: dict[str, int] | None = None, pattern: str = GPT2_LIKE
    ) -> None:
        """`merges` are as `train` gives them, `special` has texts and their ids, and each match of `pattern` is a word. A
        pattern has to match every character of a text.

        Raises ValueError for a merge with a part that is no token yet, or whose result is a token already; for a special
        token that is empty, or whose id is another token's.
        """
        # kata: begin
        self.vocab = {value: bytes([value]) for value in range(256)}
        ids = {token: id for id, token in self.vocab.items()}
        # What two neighbours become. Ids grow with the merges, so the smallest result is the merge learned first.
        self._becomes: dict[tuple[int | None, int | None], int] = {}
        for left, right in merges:
            if left not in ids or right not in ids:
                raise ValueError(f"the merge of {left!r} and {right!r} comes before one of its parts is known")
            if left + right in ids:
                raise ValueError(
                    f"the merge of {left!r} and {right!r} gives {left + right!r}, which is a token already"
                )
            new = len(ids)
            self._becomes[ids[left], ids[right]] = ids[left + right] = new
            self.vocab[new] = left + right
        self._special = special or {}
        for text, id in self._special.items():
            if not text:
                raise ValueError("a special token must not be empty: it would stand everywhere")
            if id in self.vocab:
                raise ValueError(f"the special token {text!r} has the id {id}, which is that of {self.vocab[id]!r}")
            self.vocab[id] = text.encode()
        self._pattern = re.compile(pattern)
        # Alternatives are tried in their order, so the longest comes first.
        longest_first = sorted(self._special, key=len, reverse=True)
        self._specials = re.compile("|".join(map(re.escape, longest_first)))
        # kata: end

    def encode(self, text: str, *, allow_special: bool = True) -> list[int]:
        """The ids of `text`: in each word the earliest learned of the merges that fit is applied, until none fits.

        With `allow_special` a special token's text becomes its id, from left to right, and of several that begin at one
        place the longest; what lies between special tokens is cut into words as a text of its own. Without it they are
        text like any other.
        """
        # kata: begin
        ids: list[int] = []
        end = 0
        for match in self._specials.finditer(text) if allow_special and self._special else ():
            ids += self._encode_plain(text[end : match.start()])
            ids.append(self._special[match[0]])
            end = match.end()
        return ids + self._encode_plain(text[end:])
        # kata: end

    # kata: begin
    def _encode_plain(self, text: str) -> list[int]:
        return [id for match in self._pattern.finditer(text) for id in self._encode_word(match[0].encode())]

    def _encode_word(self, word: bytes) -> list[int]:
        """A heap holds every possible merge; the tokens are a linked list, so that a merge changes four entries."""
        ids: list[int | None] = [*word, None]  # None: no token begins here; at the end, and so at -1, there is none
        after, before = [i + 1 for i in range(len(word))], [i - 1 for i in range(len(ids))]

        def merge_at(left: int) -> tuple[int, int] | None:
            new = self._becomes.get((ids[left], ids[after[left]]))
            return None if new is None else (new, left)

        queue = [found for left in range(len(word)) if (found := merge_at(left))]
        heapify(queue)
        while queue:
            found = new, left = heappop(queue)
            if merge_at(left) != found:  # one of the two is part of another token by now
                continue
            right = after[left]
            ids[left], ids[right] = new, None
            after[left] = after[right]
            before[after[right]] = left
            for neighbour in (before[left], left):
                if found := merge_at(neighbour):
                    heappush(queue, found)
        return [id for id in ids if id is not None]

    # kata: end

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Invalid UTF-8 becomes U+FFFD, as with bytes.decode(errors="replace").

        Raises ValueError for an id that is not in the vocabulary.
        """
        # kata: begin
        return "".join(self.decode_stream(ids))
        # kata: end

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yields the text of `ids` in pieces, as it becomes known; joined they are what `decode` gives.

        Before the next id is taken, every complete character has been yielded. The bytes of an unfinished one wait for
        the next id, and become U+FFFD if no more come. It is up to you when the U+FFFD of other invalid bytes is yielded,
        and whether pieces are empty. Raises ValueError as `decode` does, at the latest when it comes to that id.
        """
        # kata: begin
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            if id not in self.vocab:
                raise ValueError(f"{id} is not in the vocabulary of {len(self.vocab)} tokens")
            yield decoder.decode(self.vocab[id])
        yield decoder.decode(b"", final=True)
        # kata: end
