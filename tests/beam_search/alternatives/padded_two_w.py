"""2W candidates in the style of the big libraries: always beam_width rows, -1e9 for the copies at the start, a heap for what is
finished, and running hypotheses turned into finished ones in the last step."""

from typing import NamedTuple

import torch
from torch.utils._pytree import tree_map

LOW = -1e9


class Hypothesis(NamedTuple):
    tokens: list
    score: float


class Pool:
    def __init__(self, size, penalty):
        self.size, self.penalty, self.items = size, penalty, []

    def add(self, tokens, total):
        if total <= LOW / 2:
            return
        self.items.append(Hypothesis(tokens, total / ((len(tokens) - 1) ** self.penalty)))
        self.items.sort(key=lambda h: -h.score)
        del self.items[self.size :]

    def closed_to(self, total, longest):
        return len(self.items) == self.size and self.items[-1].score >= total / longest**self.penalty


def _beams(model, start, eos, width, max_length, penalty):
    if not (width >= 1 and max_length >= 1):
        raise ValueError(f"beam_width={width}, max_length={max_length}: both must be at least 1")
    pool = Pool(width, penalty)
    tokens = torch.full((width, 1), start, dtype=torch.int64)
    totals = torch.tensor([0.0] + [LOW] * (width - 1), dtype=torch.float64)
    cache = None
    for length in range(1, max_length + 1):
        log_probs, cache = model(tokens, cache)
        vocab = log_probs.size(-1)
        scores = (totals.view(width, 1) + log_probs.to(torch.float64).clamp(min=LOW)).view(width * vocab)
        values, picks = torch.topk(scores, min(2 * width, width * vocab))
        parents = torch.div(picks, vocab, rounding_mode="floor")
        words = picks.remainder(vocab)
        next_rows, next_words, next_totals = [], [], []
        for rank, (value, parent, word) in enumerate(
            zip(values.tolist(), parents.tolist(), words.tolist(), strict=True)
        ):
            if word == eos:
                if rank < width:
                    pool.add([*tokens[parent].tolist(), word], value)
            elif len(next_rows) < width:
                next_rows.append(parent)
                next_words.append(word)
                next_totals.append(value)
        while len(next_rows) < width:  # too few children: fill up with dead ones
            next_rows.append(0)
            next_words.append(0)
            next_totals.append(2 * LOW)
        rows = torch.tensor(next_rows)
        tokens = torch.cat([tokens.index_select(0, rows), torch.tensor(next_words).view(-1, 1)], -1)
        totals = torch.tensor(next_totals, dtype=torch.float64)
        best = max(next_totals)
        if best <= LOW / 2 or pool.closed_to(best, max_length if penalty > 0 else length):
            return pool.items
        cache = tree_map(lambda t, rows=rows: t.index_select(0, rows), cache)
    for row, total in zip(tokens.tolist(), totals.tolist(), strict=True):
        pool.add(row, total)
    return pool.items


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return _beams(lambda t, c: (log_probs_fn(t), ()), start_token, eos_token, beam_width, max_length, length_penalty)


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return _beams(lambda t, c: step_fn(t[:, -1], c), start_token, eos_token, beam_width, max_length, length_penalty)
