"""Stage 4. A long word is encoded in O(n log n) steps."""

from itertools import product

from dojo.testing import expect_equal, randint
from dojo.testing.lines import expect_lines
from katas import bpe_tokenizer
from katas.bpe_tokenizer import Tokenizer

from .helpers import replay

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HINT = "a heap of the merges that are possible, and a linked list of the tokens: a merge changes two neighbours"


def test_a_long_word_is_encoded_in_few_steps(rng):
    """1200 letters, 676 merges of all pairs in random order: one pass for each merge takes 800 000 steps."""
    pairs = [(a.encode(), b.encode()) for a, b in product(LETTERS, LETTERS)]
    merges = [pairs[i] for i in randint(rng, 0, 2**40, len(pairs)).argsort().tolist()]
    tokenizer, text = Tokenizer(merges), "".join(LETTERS[i] for i in randint(rng, 0, 26, 1200).tolist())
    what = "encode of a word of 1200 letters with 676 merges"
    ids = expect_lines(lambda: tokenizer.encode(text), bpe_tokenizer, 150 * len(text), what=what, hint=HINT)
    expect_equal(ids, replay(merges, text.encode()), what=what)


def test_a_long_run_of_one_letter_is_encoded_in_few_steps():
    """Every place offers the same merge; the leftmost comes first, and the rest of a run of odd length stays."""
    merges = [(b"a" * 2**i, b"a" * 2**i) for i in range(11)]
    tokenizer, text = Tokenizer(merges), "a" * 2999
    what = "encode of 2999 times a"
    ids = expect_lines(lambda: tokenizer.encode(text), bpe_tokenizer, 150 * len(text), what=what, hint=HINT)
    expect_equal(ids, replay(merges, text.encode()), what=what)
