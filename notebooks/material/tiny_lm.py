"""A small language model for `decoding.ipynb`: word pieces, a GRU, and its training, which takes seconds on one core."""

import itertools
import math
import re
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

END = 0  # ends an entry, and stands before the first
WORD = re.compile(r" ?[A-Za-z-]+|[.,]")


def read_entries(path: str | Path) -> list[str]:
    """The paragraphs of a text file, each on one line; those that begin with # are left out."""
    paragraphs = Path(path).read_text(encoding="utf-8").split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if not paragraph.startswith("#")]


class Pieces:
    """Byte-pair encoding: words start as letters, and the most frequent neighbours are joined `merges` times.

    A word carries the space before it, so that joining the pieces gives the text back.
    """

    def __init__(self, entries: list[str], merges: int):
        counts = Counter(word for entry in entries for word in WORD.findall(" " + entry))
        letters = sorted({letter for word in counts for letter in word})
        self.split = {word: tuple(word) for word in counts}
        self.merges: list[tuple[str, str]] = []
        for _ in range(merges):
            pairs: Counter[tuple[str, str]] = Counter()
            for word, count in counts.items():
                for pair in itertools.pairwise(self.split[word]):
                    pairs[pair] += count
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            self.merges.append(best)
            self.split = {word: _joined(split, best) for word, split in self.split.items()}
        # Pieces that later merges have swallowed in every word are no tokens; letters always are.
        used = {piece for split in self.split.values() for piece in split}
        self.names = ["<end>", *sorted(used.union(letters))]
        self.ids = {name: number for number, name in enumerate(self.names)}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text that begins a sentence or goes on with a space."""
        return [self.ids[piece] for word in WORD.findall(text) for piece in self._pieces(word)]

    def decode(self, tokens: list[int]) -> str:
        return "".join("\n" if token == END else self.names[token] for token in tokens)

    def _pieces(self, word: str) -> tuple[str, ...]:
        if word not in self.split:
            split = tuple(word)
            for pair in self.merges:
                split = _joined(split, pair)
            self.split[word] = split
        return self.split[word]


def _joined(split: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """`split` with every occurrence of the two neighbours made one piece."""
    out: list[str] = []
    position = 0
    while position < len(split):
        width = 2 if split[position : position + 2] == pair else 1
        out.append("".join(split[position : position + width]))
        position += width
    return tuple(out)


class TinyLM(nn.Module):
    """A GRU whose output layer shares the embedding's weights. Its state is [batch, width]: all that it remembers."""

    def __init__(self, vocab: int, width: int = 256, dropout: float = 0.5):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocab))
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """tokens [batch, length] -> logits of each next token [batch, length, vocab], and the state after the last."""
        embedded = self.dropout(5 * self.embedding(tokens))
        hidden, last = self.gru(embedded, None if state is None else state[None].contiguous())
        return self.dropout(hidden) @ self.embedding.weight.T + self.bias, last[0]


def train(model: TinyLM, entries: list[list[int]], epochs: int = 15, rows: int = 16, length: int = 48) -> None:
    """Trains on the entries in an order that is new in every epoch, read as `rows` long streams side by side."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
    columns = sum(map(len, entries)) // rows
    updates = epochs * math.ceil(columns / length)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, updates)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(entries)).tolist()
        stream = torch.tensor([END, *itertools.chain.from_iterable(entries[number] for number in order)])
        inputs, targets = (part[: rows * columns].view(rows, columns) for part in (stream[:-1], stream[1:]))
        state = None
        for left in range(0, columns, length):
            logits, state = model(inputs[:, left : left + length], state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, left : left + length].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            state = state.detach()  # the stream goes on, the gradient does not
    model.eval()


def logits_of(model: TinyLM, entries: list[list[int]]) -> tuple[Tensor, Tensor]:
    """The logits [tokens, vocab] before every token of the entries, each read from its start, and the tokens."""
    with torch.no_grad():
        logits = [model(torch.tensor([[END, *entry[:-1]]]))[0][0] for entry in entries]
    return torch.cat(logits), torch.tensor([token for entry in entries for token in entry])


def perplexity(log_probs: Tensor) -> float:
    """exp of the mean surprise, from the log-probabilities [tokens] that the tokens of a text got."""
    return math.exp(-log_probs.mean())


def counting_models(entries: list[list[int]], held_out: list[list[int]], vocab: int) -> tuple[Tensor, Tensor]:
    """What counting gives: the log-probabilities of the held-out tokens by a unigram and by a bigram model.

    Every token starts with a count of 1. A bigram's count is topped up with `weight` unigrams, and the weight is chosen
    on the held-out text itself, so the bigrams are as good as they can be.
    """
    before, after = _neighbours(entries)
    unigram = torch.bincount(after, minlength=vocab).double() + 1
    unigram /= unigram.sum()
    counts = torch.zeros(vocab, vocab, dtype=torch.float64)
    counts.index_put_((before, after), torch.ones(len(after), dtype=torch.float64), accumulate=True)
    before, after = _neighbours(held_out)
    bigrams = [
        ((counts + weight * unigram) / (counts.sum(1, keepdim=True) + weight))[before, after].log()
        for weight in (0.5, 1, 2, 4, 8, 16)
    ]
    return unigram[after].log(), max(bigrams, key=lambda log_probs: float(log_probs.mean()))


def _neighbours(entries: list[list[int]]) -> tuple[Tensor, Tensor]:
    """All tokens of the entries, and the token before each."""
    pairs = [pair for entry in entries for pair in itertools.pairwise([END, *entry])]
    before, after = torch.tensor(pairs).T
    return before, after
