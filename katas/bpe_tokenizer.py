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
    raise NotImplementedError("bpe_tokenizer.train: write me")


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
        raise NotImplementedError("bpe_tokenizer.Tokenizer.__init__: write me")

    def encode(self, text: str, *, allow_special: bool = True) -> list[int]:
        """The ids of `text`: in each word the earliest learned of the merges that fit is applied, until none fits.

        With `allow_special` a special token's text becomes its id, from left to right, and of several that begin at one
        place the longest; what lies between special tokens is cut into words as a text of its own. Without it they are
        text like any other.
        """
        raise NotImplementedError("bpe_tokenizer.Tokenizer.encode: write me")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Invalid UTF-8 becomes U+FFFD, as with bytes.decode(errors="replace").

        Raises ValueError for an id that is not in the vocabulary.
        """
        raise NotImplementedError("bpe_tokenizer.Tokenizer.decode: write me")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yields the text of `ids` in pieces, as it becomes known; joined they are what `decode` gives.

        Before the next id is taken, every complete character has been yielded. The bytes of an unfinished one wait for
        the next id, and become U+FFFD if no more come. It is up to you when the U+FFFD of other invalid bytes is yielded,
        and whether pieces are empty. Raises ValueError as `decode` does, at the latest when it comes to that id.
        """
        raise NotImplementedError("bpe_tokenizer.Tokenizer.decode_stream: write me")
