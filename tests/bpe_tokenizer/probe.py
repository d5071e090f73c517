"""What can be seen of a tokenizer: merges, vocabularies, ids, texts, and when a stream shows them."""

from dojo.testing import randint
from dojo.testing.probes import Case

A, B, C, D = b"a", b"b", b"c", b"d"
MERGES = [
    (A, A),
    (C, D),
    (B, b"cd"),
    (B, C),
    (A, B),
    (b"aa", A),
    (b"ab", D),
    (b"cd", b"aa"),
    (b"ab", b"ab"),
    (b" ", A),
    (b"|", b">"),
]
SPECIAL = {"<|end|>": 300, "<|end|>now": 301, "[a-z]!": 304, "[a-z]": 302, "é": 303}
WRONG = {
    "unknown part": ([(b"ab", C)], None),
    "wrong order": ([(A, b"bc"), (B, C)], None),
    "twice": ([(A, B), (A, B)], None),
    "same token": ([(A, B), (B, C), (b"ab", C), (A, b"bc")], None),
    "a byte's id": ([(A, B)], {"<s>": 0}),
    "a merge's id": ([(A, B)], {"<s>": 256}),
    "one id for two": ([(A, B)], {"<s>": 300, "</s>": 300}),
    "empty": ([], {"": 300}),
    "the first free id": ([(A, B)], {"<s>": 257}),
}


def text(rng, count, letters):
    return "".join(letters[i] for i in randint(rng, 0, len(letters), count).tolist())


def words(rng, count, longest, letters):
    """Pairs of a word and its count; a dict's keys are texts where inputs are sent."""
    found = {text(rng, int(randint(rng, 1, longest + 1, 1)), letters): int(randint(rng, 1, 5, 1)) for _ in range(count)}
    return [(word.encode(), times) for word, times in found.items()]


def cases(rng):
    for name, letters, count in (
        ("words", "abcdefgh", 30),
        ("ties", "ab", 9),
        ("few letters", "abc", 15),
        ("é", "aé€", 12),
    ):
        yield Case(f"train on {name}", of="train", words=words(rng, count, 9, letters), merges=25)
    runs = [(letter.encode() * 3, 1 + i) for i, letter in enumerate(text(rng, 4, "abc") + "xyz")]
    yield Case("train on runs", of="train", words=[*dict(runs).items(), (b"pq", 5)], merges=12)
    anything = [(bytes([0xFF - n, 0xFF, 0xFF - n]), 9 - n) for n in range(3)]
    yield Case("train on any bytes", of="train", words=anything, merges=4)
    yield Case("train until the end", of="train", words=words(rng, 5, 6, "abcd"), merges=200)
    yield Case("train no merges", of="train", words=words(rng, 3, 4, "ab"), merges=0)
    yield Case("train nothing", of="train", words=[(b"", 2), (b"a", 1)], merges=3)
    yield Case("train a negative number", of="train", words=[(b"ab", 1)], merges=-1)
    yield Case("vocab", of="Tokenizer.__init__", text=text(rng, 6, "abcd"), special={})
    yield Case("vocab with special tokens", of="Tokenizer.__init__", text=text(rng, 6, "abcd"), special=SPECIAL)
    for name, (merges, special) in WRONG.items():
        yield Case(f"init: {name}", of="Tokenizer.__init__", merges=merges, text="<s>", special=special)
    for number in range(6):
        yield Case(f"encode {number}", of="Tokenizer.encode", text=text(rng, 30, "abcd"))
    yield Case("encode runs", of="Tokenizer.encode", text=text(rng, 30, "aab"))
    for name, letters in (("sentences", "abcd  \n|>."), ("unicode", "aé€😀中 A")):
        yield Case(f"encode {name}", of="Tokenizer.encode", text=text(rng, 30, letters))
    parts = ["<|end|>", "<|end|>now", "[a-z]", "é", "ab", " a", "<", "cdaa", "<|end"]
    for allowed in (True, False):
        drawn = "".join(parts[i] for i in randint(rng, 0, len(parts), 9).tolist())
        mixed = f"{drawn}<|end|>now{text(rng, 2, 'abc')}[a-z]!<|end|>"
        yield Case(f"encode specials, {allowed}", of="Tokenizer.encode", text=mixed, special=SPECIAL, allowed=allowed)
    yield Case("encode by a pattern", of="Tokenizer.encode", text=text(rng, 20, "abc"), pattern=r"(a)b|.")
    for number in range(3):
        ids = [*randint(rng, 0, 267, 6).tolist(), *randint(rng, 128, 256, 4).tolist(), 0xE2, 0x82]
        yield Case(f"decode {number}", of="Tokenizer.decode", ids=ids)
        yield Case(
            f"stream {number}", of="Tokenizer.decode_stream", ids=[300, *ids, 303, 0xF0], special=SPECIAL, steps=False
        )
    whole = text(rng, 8, "aé€😀")
    yield Case(
        "stream with a special token",
        of="Tokenizer.decode_stream",
        ids=[*whole.encode(), 303, 97, 0xF0],
        special=SPECIAL,
    )
    yield Case("decode characters", of="Tokenizer.decode", ids=list(whole.encode()))
    yield Case("stream of characters", of="Tokenizer.decode_stream", ids=list(whole.encode()))
    for of in ("Tokenizer.decode", "Tokenizer.decode_stream"):
        yield Case(f"{of} of an unknown id", of=of, ids=[97, 267])
        yield Case(f"{of} of -1", of=of, ids=[97, -1])


def streamed(tokenizer, ids):
    """What has been shown by the time at which each next id is taken, and at the end."""
    shown, seen = [], []

    def asked():
        for id in ids:
            seen.append("".join(shown))
            yield id

    for piece in tokenizer.decode_stream(asked()):
        shown.append(piece)
    return [*seen, "".join(shown)]


def run(kata, case):
    if case.of == "train":
        given = dict(case.words)
        merges = kata.train(given, case.merges)
        return {"merges": [list(merge) for merge in merges], "words after": list(given.items()) == case.words}
    options = {"pattern": case.pattern} if hasattr(case, "pattern") else {}
    merges = [tuple(merge) for merge in getattr(case, "merges", MERGES)]
    tokenizer = kata.Tokenizer(merges, getattr(case, "special", None), **options)
    if case.of == "Tokenizer.decode":
        return {"text": tokenizer.decode(case.ids)}
    if case.of == "Tokenizer.decode_stream":
        texts = streamed(tokenizer, case.ids)
        return {"texts": texts if getattr(case, "steps", True) else texts[-1]}  # when broken bytes show is free
    evidence = {"ids": list(tokenizer.encode(case.text, allow_special=getattr(case, "allowed", True)))}
    if case.of == "Tokenizer.__init__":
        kata.Tokenizer([(b"x", b"y")])  # which must not change the first one
        evidence["vocab"] = {str(id): token for id, token in sorted(tokenizer.vocab.items())}
    return evidence
