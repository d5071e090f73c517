"""Stage 3. Text that is not ASCII, bytes that are no text, streams."""

import pytest

from dojo.testing import expect, expect_equal, randint
from katas.bpe_tokenizer import Tokenizer, train

from .helpers import WORKED, expect_merges, learned, random_words, replay

TEXTS = ["né", "中文字符", "👋🏽 hi", "\u0000\u007f\u0080", "e\u0301 ≠ é", "\u2028\u00a0 \u3000", "²³½ Ⅷ", "𝔘𝔫𝔦"]
# bytes, and what Python makes of them
BROKEN = [
    b"\xff",
    b"a\x80b",
    b"\xe2\x82",
    b"\xe2\x82a",
    b"\xf0\x9f\x98",
    b"\xc3\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_any_script_comes_back(text):
    """There is no unknown token: what is not in the vocabulary as a whole is there byte by byte."""
    tokenizer = Tokenizer(WORKED)
    expect_equal(
        tokenizer.encode(text),
        list(text.encode()),
        what=f"encode({text!r}) with no merge that fits",
        hint="the ids are UTF-8 bytes, not characters",
    )
    expect_equal(
        tokenizer.decode(tokenizer.encode(text)),
        text,
        what=f"decode(encode({text!r}))",
        hint="join the bytes of all ids, and only then decode them",
    )


def test_any_text_comes_back(rng):
    """Characters from everywhere in Unicode, with merges that were learned from other such texts."""

    def drawn(count):
        points = randint(rng, 0, 0x10F800, count).tolist()
        return "".join(chr(p + 0x800 * (p >= 0xD800)) for p in points)  # without the surrogates

    merges = train({drawn(40).encode(): 1, drawn(40).encode(): 2}, 60)
    tokenizer = Tokenizer(merges, {"☃": 1000})
    for text in (drawn(60), drawn(7) + "☃" + drawn(5), "☃☃"):
        expect_equal(tokenizer.decode(tokenizer.encode(text)), text, what=f"decode(encode({text!r}))")


def test_training_takes_any_bytes(rng):
    """0 and 255 too, as in a text that is no UTF-8."""
    words = random_words(rng, 20, 9, bytes([0, 1, 254, 255]))
    expect_merges(train(words, 12), learned(words, 12), words, "the bytes 0 to 255 are tokens from the beginning")


def test_merges_join_the_bytes_of_a_character():
    """A frequent character of three bytes costs two merges."""
    words = {"日本".encode(): 4, "日曜".encode(): 3}
    merges = learned(words, 6)
    expect_merges(train(words, 6), merges, words, "words are bytes")
    expect_equal(Tokenizer(merges).encode("日曜日"), replay(merges, "日曜日".encode()), what="encode('日曜日')")


@pytest.mark.parametrize("raw", BROKEN)
def test_what_is_no_text_reads_as_replacement_characters(raw):
    """A model may emit any ids. Each broken sequence reads U+FFFD, as Python's decoder has it, and nothing is dropped."""
    tokenizer = Tokenizer(WORKED)
    wanted = raw.decode(errors="replace")
    expect_equal(
        tokenizer.decode(raw),
        wanted,
        what=f"decode of the bytes {raw!r}",
        hint="errors='replace' on all bytes together",
    )
    expect_equal(
        "".join(tokenizer.decode_stream(raw)),
        wanted,
        what=f"the stream of the bytes {raw!r}",
        hint="an incremental decoder with errors='replace', and its end",
    )


def test_random_ids_decode_as_their_bytes_do(rng):
    """Whatever the model emits."""
    tokenizer = Tokenizer([(b"\xe2", b"\x82"), (b"\xe2\x82", b"\xac"), (b"\xac", b"\xf0")])
    for _ in range(40):
        ids = [int(i) for i in randint(rng, 0, 259, 4)] + [(256, 258, 226, 240)[int(i)] for i in randint(rng, 0, 4, 4)]
        wanted = b"".join(tokenizer.vocab[id] for id in ids).decode(errors="replace")
        expect_equal(tokenizer.decode(ids), wanted, what=f"decode({ids})")
        expect_equal("".join(tokenizer.decode_stream(ids)), wanted, what=f"the text of decode_stream({ids})")


def seen_after(tokenizer, ids):
    """What decode_stream has yielded by the time at which it asks for each next id, and at the end."""
    seen, text = [], ""

    def asked():
        for id in ids:
            seen.append(text)
            yield id

    for piece in tokenizer.decode_stream(asked()):
        text += piece
    return [*seen[1:], text]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"ab", ["a", "ab"]),
        ("aé!".encode(), ["a", "a", "aé", "aé!"]),
        ("€".encode(), ["", "", "€"]),
        ("😀".encode(), ["", "", "", "😀"]),
    ],
)
def test_a_stream_shows_each_character_once_it_is_complete(raw, wanted):
    """Half a character is never shown, and a whole one does not wait."""
    found = seen_after(Tokenizer(WORKED), raw)
    hint = "hold back the bytes of an unfinished character, and nothing else; yield before you take the next id"
    expect_equal(found, wanted, what=f"the text after each byte of {raw.decode()!r}", hint=hint)


def test_a_stream_ends_with_what_it_held_back():
    """A generation that is cut in a character shows that something is missing."""
    found = seen_after(Tokenizer(WORKED), b"a\xe2\x82")
    expect_equal(
        found[-1], "a\ufffd", what="the stream of a and two bytes of three", hint="flush at the end: final=True"
    )


def test_a_special_token_ends_an_unfinished_character():
    """It is a text of its own, and shows at once."""
    tokenizer = Tokenizer(WORKED, {"<s>": 300})
    found = seen_after(tokenizer, [0xE2, 0x82, 300, 97])
    expect_equal(found[2:], ["\ufffd<s>", "\ufffd<s>a"], what="the stream of two bytes of three, <s> and a")


def test_a_stream_takes_one_id_at_a_time():
    """The ids come from a model that is still writing."""
    taken = []
    ids = (taken.append(id) or id for id in [256, 98, 257])
    stream = Tokenizer(WORKED).decode_stream(ids)
    text = ""
    while not text:
        text += next(stream)
    expect_equal(text, "aa"[: len(text)], what="the first text of the stream of aa, b and ab")
    expect(
        len(taken) == 1, f"the first text should need one id, but {len(taken)} were taken", hint="yield within the loop"
    )
