"""Stage 2. Ties, runs of one byte, special tokens, patterns, wrong arguments."""

import copy

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.bpe_tokenizer import GPT2_LIKE, Tokenizer, train

from .helpers import WORKED, expect_merges, learned, random_words, replay

SPECIAL = {"<|end|>": 300, "<|end|>now": 301, "<s>": 4000, "[a-z]": 302}


def test_among_equals_the_smaller_left_id_wins_and_then_the_smaller_right_one():
    """Libraries differ here, and so would their vocabularies."""
    words = {b"zy": 2, b"ca": 2, b"bz": 2, b"bd": 2}
    wanted = [(b"b", b"d"), (b"b", b"z"), (b"c", b"a"), (b"z", b"y")]
    hint = (
        "among equally frequent pairs the smaller left id, then the smaller right id; not the one that was seen first"
    )
    expect_merges(train(words, 4), wanted, words, hint)


def test_ties_compare_ids_and_not_spellings():
    """A merged token has a large id, whatever its bytes are: (z, z) comes before (aa, b)."""
    words = {b"aab": 3, b"aac": 1, b"zz": 3}
    wanted = [(b"a", b"a"), (b"z", b"z"), (b"aa", b"b"), (b"aa", b"c")]
    expect_merges(train(words, 4), wanted, words, "compare the ids, which are in the order of learning, not the bytes")


def test_ties_follow_the_rules_in_random_words(rng):
    """Few letters and small counts: nearly every choice is one between equals."""
    words = random_words(rng, 12, 6, b"ab")
    hint = "most frequent, then smallest left id, then smallest right id"
    expect_merges(train(words, 20), learned(words, 20), words, hint)


def test_the_order_of_the_words_does_not_matter(rng):
    """The same corpus, read from another file system, should give the same model."""
    words = random_words(rng, 20, 8)
    other = dict(reversed(words.items()))
    expect_merges(train(other, 15), train(words, 15), "the words in reverse order", "no choice may depend on the order")


def test_a_run_of_three_counts_its_pair_twice():
    """aa stands at two places in aaa, although only one of them can be merged."""
    words = {b"aaa": 2, b"bc": 3}
    hint = "count a pair at every place where it stands, also where places overlap"
    expect_merges(train(words, 1), [(b"a", b"a")], words, hint)


@pytest.mark.parametrize("length", range(2, 10))
def test_runs_are_replaced_from_the_left_without_overlap(length):
    """aaaaa is aa aa a, and with the next merge aaaa a."""
    merges = [(b"a", b"a"), (b"aa", b"aa")]
    text = "a" * length
    hint = "go from left to right; what has just been merged is no part of the next pair"
    expect_equal(Tokenizer(merges).encode(text), replay(merges, text.encode()), what=f"encode({text!r})", hint=hint)


def test_training_replaces_runs_from_the_left():
    """Otherwise the training would count other pairs than the encoder meets."""
    words = {b"aaab": 3, b"aaac": 2}
    hint = "aaa becomes aa a, so that (a, b) is next to come"
    expect_merges(train(words, 3), learned(words, 3), words, hint)


def test_it_goes_on_while_there_is_a_pair_and_stops_when_there_is_none():
    """A pair that occurs once is merged too; afterwards each word is one token."""
    words = {b"abc": 1, b"xy": 1}
    hint = "merge while any pair is left, at a count of 1 as well"
    expect_merges(train(words, 100), [(b"a", b"b"), (b"x", b"y"), (b"ab", b"c")], words, hint)


def test_no_merge_is_learned_across_words():
    """The end of one word and the beginning of the next are no neighbours."""
    words = {b"ab": 9, b"ba": 1}
    expect_merges(train(words, 3), [(b"a", b"b"), (b"b", b"a")], words, "words are not joined for the counting")


@pytest.mark.parametrize("words", [{}, {b"": 3}, {b"a": 2, b"": 1, b"b": 5}])
def test_where_there_is_no_pair_nothing_is_learned(words):
    """No words, empty words, words of one byte."""
    expect_merges(train(words, 5), [], words, "a word of n bytes has n - 1 pairs, an empty one none")


def test_no_merges_are_asked_for():
    """Then the tokens are the bytes."""
    expect_merges(train({b"ab": 1}, 0), [], {b"ab": 1}, "merges=0 learns nothing")
    expect_equal(Tokenizer([]).encode("ab"), [97, 98], what="encode('ab') without merges")


def test_nothing_gives_nothing():
    """Empty text, no ids."""
    tokenizer = Tokenizer(WORKED, SPECIAL)
    expect_equal(tokenizer.encode(""), [], what="encode('')")
    expect_equal(tokenizer.decode([]), "", what="decode([])")
    expect_equal("".join(tokenizer.decode_stream([])), "", what="the text of decode_stream([])")


def test_arguments_are_left_as_they_are():
    """The words are counted again for the next vocabulary size, the merges are saved."""
    words, merges, special = {b"aaab": 2, b"ab": 1}, list(WORKED), dict(SPECIAL)
    before = copy.deepcopy((words, merges, special))
    train(words, 5)
    Tokenizer(merges, special).encode("aaab<s>")
    expect_equal(
        (words, merges, special), before, what="words, merges and special afterwards", hint="copy what you change"
    )


def test_two_tokenizers_share_nothing():
    """A vocabulary as a class attribute, or as a default argument, would be everybody's."""
    one, other = Tokenizer(WORKED), Tokenizer([(b"x", b"y")])
    expect_equal(len(other.vocab), 257, what="the size of the second vocabulary", hint="set it in __init__, on self")
    expect_equal(one.encode("xyaaab"), [120, 121, 258], what="the first tokenizer's encode('xyaaab')")
    expect_equal(one.decode([258, 98]), "aaabb", what="the first tokenizer's decode([258, 98])")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<|end|>", [300]),
        ("ab<|end|>ab", [257, 300, 257]),
        ("<|end|><|end|>", [300, 300]),
        ("<s>b<s>", [4000, 98, 4000]),
        ("[a-z]b", [302, 98]),
        ("<s", [60, 115]),
    ],
)
def test_special_tokens_become_their_ids(text, wanted):
    """As text, whatever its characters mean in a pattern; what stands around them is encoded as ever."""
    hint = "split the text at the special tokens first (re.escape), then encode what lies between them"
    expect_equal(Tokenizer(WORKED, SPECIAL).encode(text), wanted, what=f"encode({text!r})", hint=hint)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_longest_of_several_special_tokens_wins(reverse):
    """In whatever order they were given."""
    special = dict(sorted(SPECIAL.items(), reverse=reverse))
    hint = "in a pattern the first alternative that fits wins: put the longest first"
    found = Tokenizer(WORKED, special).encode("<|end|>now<|end|>no")
    expect_equal(found, [301, 300, 110, 111], what="encode('<|end|>now<|end|>no')", hint=hint)


def test_special_tokens_can_be_switched_off():
    """A user who types <|end|> must not end the conversation."""
    tokenizer = Tokenizer([(b"<", b"|")], SPECIAL)
    hint = "with allow_special=False the text is encoded like any other"
    found = tokenizer.encode("<s><|end|>", allow_special=False)
    expect_equal(
        found, [60, 115, 62, 256, 101, 110, 100, 124, 62], what="encode('<s><|end|>', allow_special=False)", hint=hint
    )


def test_special_tokens_are_decoded_to_their_text():
    """And vocab holds their bytes."""
    tokenizer = Tokenizer(WORKED, SPECIAL)
    text = "ab<|end|>now [a-z]<s>"
    expect_equal(tokenizer.decode(tokenizer.encode(text)), text, what=f"decode(encode({text!r}))")
    expect_equal(
        tokenizer.vocab.get(4000), b"<s>", what="vocab[4000]", hint="special tokens are in vocab, by the id given"
    )


def test_the_first_free_id_may_be_a_special_tokens():
    """Three merges take the ids 256 to 258."""
    expect_equal(Tokenizer(WORKED, {"<s>": 259}).encode("<s>"), [259], what="encode('<s>') where <s> has the id 259")


def test_a_merge_never_reaches_into_a_special_token():
    """Nor does a word: the space before it stays on its side."""
    tokenizer = Tokenizer([(b" ", b"<"), (b">", b"a")], {"<s>": 300})
    expect_equal(tokenizer.encode(" <s>a"), [32, 300, 97], what="encode(' <s>a') with the merges ' <', '>a'")


def test_what_lies_between_special_tokens_is_a_text_of_its_own():
    """White space at the end of a text keeps together; before a word its last character would go to the word."""
    tokenizer = Tokenizer([(b" ", b" ")], {"<s>": 300})
    hint = "encode the text before a special token by itself: the pattern must not look at what comes behind"
    expect_equal(
        tokenizer.encode("a  <s>b"), [97, 256, 300, 98], what="encode('a  <s>b') with the merge '  '", hint=hint
    )


def test_the_pattern_decides_what_a_word_is():
    """Also one with a group in it, of which re.findall would return the group alone."""
    merges = [(b"a", b" "), (b"a ", b"b")]
    expect_equal(Tokenizer(merges, pattern=r"(?s).+").encode("a b"), [257], what="encode('a b') as one word")
    found = Tokenizer(WORKED, pattern=r"(a)b|.").encode("abab")
    expect_equal(found, [257, 257], what="encode('abab') with the pattern (a)b|.", hint="match[0] is the whole match")
    expect_equal(Tokenizer(merges, pattern=GPT2_LIKE).encode("a b"), [97, 32, 98], what="encode('a b') by GPT2_LIKE")


def test_ids_may_come_from_an_iterator():
    """A model's ids arrive one by one."""
    expect_equal(Tokenizer(WORKED).decode(iter([256, 98])), "aab", what="decode(iter([256, 98]))")


def test_a_negative_number_of_merges_is_an_error():
    """It is a wrong argument."""
    with expect_raises(ValueError, what="train(words, -1)"):
        train({b"ab": 1}, -1)


@pytest.mark.parametrize("merges", [[(b"ab", b"c")], [(b"a", b"bc"), (b"b", b"c")], [(b"", b"a")]])
def test_a_merge_of_an_unknown_part_is_an_error(merges):
    """Merges in another order than they were learned in, or half of a file."""
    with expect_raises(ValueError, what=f"Tokenizer({merges})"):
        Tokenizer(merges)


@pytest.mark.parametrize(
    "merges", [[(b"a", b"b"), (b"a", b"b")], [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")]]
)
def test_a_merge_that_gives_a_known_token_is_an_error(merges):
    """Two ids would have one spelling."""
    with expect_raises(ValueError, what=f"Tokenizer({merges})"):
        Tokenizer(merges)


@pytest.mark.parametrize("special", [{"<s>": 0}, {"<s>": 258}, {"<s>": 300, "</s>": 300}, {"": 300}])
def test_a_special_token_that_collides_or_is_empty_is_an_error(special):
    """Its id is a byte's, a merge's, or another special token's; an empty one would stand everywhere."""
    with expect_raises(ValueError, what=f"Tokenizer(merges, {special})"):
        Tokenizer(WORKED, special)


@pytest.mark.parametrize("id", [259, -1])
def test_an_unknown_id_is_an_error(id):
    """A negative one is not counted from the end."""
    tokenizer = Tokenizer(WORKED)
    with expect_raises(ValueError, what=f"decode([97, {id}])"):
        tokenizer.decode([97, id])
    with expect_raises(ValueError, what=f"list(decode_stream([97, {id}]))"):
        list(tokenizer.decode_stream([97, id]))
