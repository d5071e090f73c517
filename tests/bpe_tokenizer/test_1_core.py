"""Stage 1. Training, encoding, decoding."""

import pytest

from dojo.testing import expect_equal
from katas.bpe_tokenizer import Tokenizer, train

from .helpers import WORKED, expect_merges, learned, random_words, replay


def test_the_most_frequent_pair_is_merged_first():
    """A pair counts at each of its places, in every word."""
    words = {b"xab": 1, b"abyab": 1, b"cdcdx": 1}
    expect_merges(train(words, 1), [(b"a", b"b")], words, "count neighbours in all words, and take the largest count")


def test_a_pair_counts_as_often_as_its_word():
    """`words` says how often each word occurs: a rare word with many pairs weighs less than a frequent one."""
    words = {b"ababab": 1, b"cd": 5}
    expect_merges(train(words, 2), [(b"c", b"d"), (b"a", b"b")], words, "add the word's count for each of its pairs")


def test_merged_tokens_are_merged_again():
    """The worked example of most explanations: aa, then ab, then both together."""
    words = {b"aaabdaaabac": 1}
    hint = (
        "after each merge count again, with the new token in the place of the pair; of equals the smaller left id first"
    )
    expect_merges(train(words, 3), WORKED, words, hint)


@pytest.mark.parametrize("merges", [1, 2, 7, 30])
def test_training_learns_the_merges_that_the_rules_give(rng, merges):
    """Beside a trainer that counts everything anew for each merge."""
    words = random_words(rng, 30, 9, b"abcdefgh")
    hint = "add each pair's word count, and count again after each merge; of equals the smaller left id, then the smaller right id"
    expect_merges(train(words, merges), learned(words, merges), words, hint)


def test_ids_are_the_bytes_and_then_the_merges_in_order():
    """What lies in a model's embedding is found by these numbers."""
    vocab = Tokenizer(WORKED).vocab
    wanted = {value: bytes([value]) for value in range(256)} | {256: b"aa", 257: b"ab", 258: b"aaab"}
    hint = "the first merge has id 256; the bytes are 0 to 255, as they are"
    for id, token in wanted.items():
        expect_equal(vocab.get(id), token, what=f"vocab[{id}]", hint=hint)
    expect_equal(len(vocab), 259, what="the size of a vocabulary with 3 merges")


def test_the_worked_example_is_encoded():
    """Ids 258, d, 258, a, c."""
    expect_equal(
        Tokenizer(WORKED).encode("aaabdaaabac"),
        [258, 100, 258, 97, 99],
        what="encode('aaabdaaabac')",
        hint="start from the bytes, and apply merges until none fits",
    )


def test_the_earliest_learned_merge_comes_first():
    """Not the one that stands first in the text: that gives other tokens than the model was trained on."""
    tokenizer = Tokenizer([(b"b", b"c"), (b"a", b"b")])
    hint = "of all pairs that could be merged take the one with the lowest rank, not the leftmost"
    expect_equal(tokenizer.encode("abc"), [97, 256], what="encode('abc') with the merges bc, ab", hint=hint)


def test_the_longest_token_is_not_looked_for():
    """abc is a token, and begins the word; but cd was learned before it, and takes the c."""
    tokenizer = Tokenizer([(b"c", b"d"), (b"a", b"b"), (b"ab", b"c")])
    hint = "encode by merging, in the order of training; the vocabulary is not searched for the longest token"
    expect_equal(tokenizer.encode("abcd"), [257, 256], what="encode('abcd') with the merges cd, ab, abc", hint=hint)


def test_encoding_replays_the_merges(rng):
    """Applying the earliest merge that fits, again and again, is what training did to the word."""
    merges = learned(random_words(rng, 40, 12), 25)
    tokenizer = Tokenizer(merges)
    for word in random_words(rng, 30, 25):
        text = word.decode()
        hint = "always the earliest learned merge of those that fit, until none fits"
        expect_equal(tokenizer.encode(text), replay(merges, word), what=f"encode({text!r})", hint=hint)


def test_decoding_gives_the_text_back():
    """Spaces, line ends and punctuation too: nothing is stripped, lowered or joined."""
    tokenizer = Tokenizer([*WORKED, (b" ", b"t"), (b"h", b"e"), (b" t", b"he")])
    for text in ("the aaab in the Hat", "  two  spaces ", "Tabs\tand\nlines\n\n", "don't; (a_b) 3.14!"):
        expect_equal(tokenizer.decode(tokenizer.encode(text)), text, what=f"decode(encode({text!r}))")


def test_tokens_are_joined_as_bytes():
    """decode takes ids in any order, whether encode would give them or not."""
    expect_equal(Tokenizer(WORKED).decode([258, 33, 256, 97]), "aaab!aaa", what="decode([258, 33, 256, 97])")


def test_a_text_is_cut_into_words_first():
    """The pattern gives the space to the word behind it: " world" is a word, and no token reaches over its edge."""
    tokenizer = Tokenizer([(b"o", b" "), (b" ", b"w"), (b"o", b" w")])
    wanted = [104, 111, 257, 111]
    hint = "cut the text by the pattern, encode each match by itself, and join the ids"
    expect_equal(tokenizer.encode("ho wo"), wanted, what="encode('ho wo') with the merges 'o ', ' w', 'o w'", hint=hint)
