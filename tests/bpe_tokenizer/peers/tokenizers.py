"""Hugging Face's tokenizers. Its alphabet is made of characters; one for each byte, in the order of the bytes, keeps the ids."""

import codecs
import json
import re

from tokenizers import Tokenizer as Library
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

GPT2_LIKE = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+"
ALPHABET = [chr(0x4E00 + byte) for byte in range(256)]


def spelled(raw):
    return "".join(ALPHABET[byte] for byte in raw)


def raw(spelling):
    return bytes(ord(character) - 0x4E00 for character in spelling)


def train(words, merges):
    if merges < 0:
        raise ValueError("merges")
    library = Library(BPE())
    trainer = BpeTrainer(
        vocab_size=256 + merges, min_frequency=0, initial_alphabet=ALPHABET, special_tokens=[], show_progress=False
    )
    library.train_from_iterator([spelled(word) for word, count in words.items() for _ in range(count)], trainer)
    return [(raw(left), raw(right)) for left, right in json.loads(library.to_str())["model"]["merges"]]


class Tokenizer:
    def __init__(self, merges, special=None, pattern=GPT2_LIKE):
        known = {character: id for id, character in enumerate(ALPHABET)}
        for left, right in merges:
            new = spelled(left + right)
            if not {spelled(left), spelled(right)} <= known.keys() or new in known:
                raise ValueError("the library would panic, or take two merges for one")
            known[new] = len(known)
        self.library = Library(BPE(known, [(spelled(left), spelled(right)) for left, right in merges]))
        self.vocab = {id: raw(token) for token, id in known.items()}
        self.special = special or {}
        for text, id in self.special.items():
            if not text or id in self.vocab:
                raise ValueError("special")
            self.vocab[id] = text.encode()
        self.pattern = pattern

    def encode(self, text, *, allow_special=True):
        ids = []
        names = sorted(self.special, key=len, reverse=True) if allow_special else []
        for part in re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]:
            if part in names:
                ids.append(self.special[part])
                continue
            for word in re.finditer(self.pattern, part):
                ids += self.library.encode(spelled(word[0].encode())).ids
        return ids

    def decode(self, ids):
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            if id not in self.vocab:
                raise ValueError("unknown")
            yield decoder.decode(self.vocab[id])
        yield decoder.decode(b"", True)
