"""In the style of a logits processor: the penalty is scattered into a copy of the log-probabilities before each group chooses; an
eos counts, and a group that is settled is simply run to the end of the loop over steps together with the others."""

from typing import NamedTuple

import torch


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def penalise(log_probs, taken, strength):
    cost = torch.zeros_like(log_probs[0]).index_add_(0, taken, torch.full(taken.shape, strength).to(log_probs))
    return log_probs - cost


class Beams:
    def __init__(self, start, width):
        self.tokens, self.totals = torch.tensor([[start]]), torch.zeros(1, dtype=torch.float64)
        self.finished, self.width, self.open = [], width, True

    def keep(self, rows, totals, alpha):
        for row, total in zip(rows.tolist(), totals.tolist(), strict=True):
            self.finished.append(Hypothesis(row, total * (len(row) - 1) ** -alpha))
        self.finished = sorted(self.finished, key=lambda h: h.score)[-self.width :]


def diverse_beam_search(
    log_probs_fn, start_token, eos_token, beam_width, max_length, *, groups, diversity, length_penalty=0.0
):
    if not (beam_width >= 1 and max_length >= 1 and groups >= 1 and beam_width % groups == 0):
        raise ValueError("bad sizes")
    if not 0 <= diversity <= torch.finfo(torch.float32).max:
        raise ValueError("bad strength")
    every = [Beams(start_token, beam_width // groups) for _ in range(groups)]
    for step in range(max_length):
        if not any(beams.open for beams in every):
            break
        alive = [beams for beams in every if len(beams.tokens)]
        out = log_probs_fn(torch.cat([beams.tokens for beams in alive])).to(torch.float64)
        taken = torch.empty(0, dtype=torch.long)
        for beams in alive:
            log_probs, out = out[: len(beams.tokens)], out[len(beams.tokens) :]
            vocab = log_probs.size(1)
            wish = (beams.totals[:, None] + penalise(log_probs, taken, diversity)).flatten()
            index = wish.topk(min(2 * beams.width, len(wish))).indices
            index = index[wish[index] > -torch.inf]
            parent, token = index // vocab, index % vocab
            totals = beams.totals[parent] + log_probs[parent, token]
            rows = torch.cat([beams.tokens[parent], token[:, None]], 1)
            is_eos = token == eos_token
            first = torch.arange(len(token)) < beams.width
            if beams.open:
                beams.keep(rows[is_eos & first], totals[is_eos & first], length_penalty)
            going = (~is_eos).nonzero()[:, 0][: beams.width]
            taken = torch.cat([taken, token[is_eos & first], token[going]])
            beams.tokens, beams.totals = rows[going], totals[going]
            if not len(going):
                beams.open = False
            elif len(beams.finished) == beams.width:
                horizon = max_length if length_penalty > 0 else step + 1
                beams.open &= bool(beams.totals.max() * horizon**-length_penalty > beams.finished[0].score)
    for beams in every:
        if beams.open:
            beams.keep(beams.tokens, beams.totals, length_penalty)
    return [beams.finished[::-1] for beams in every]
