"""W candidates: each finished hypothesis makes its group one beam narrower. Counts come from one-hot rows; eos counts too."""

from typing import NamedTuple

import torch
from torch.nn.functional import one_hot


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def diverse_beam_search(
    log_probs_fn, start_token, eos_token, beam_width, max_length, *, groups, diversity, length_penalty=0.0
):
    if min(beam_width, max_length, groups) < 1:
        raise ValueError("beam_width, max_length and groups start at 1")
    if beam_width // groups * groups != beam_width:
        raise ValueError("beam_width is a multiple of groups")
    if not torch.tensor(float(diversity)).isfinite() or diversity < 0:
        raise ValueError("diversity is finite and not negative")
    width = beam_width // groups
    prefixes = [torch.full((1, 1), start_token) for _ in range(groups)]
    sums = [torch.zeros(1) for _ in range(groups)]
    ended = [[] for _ in range(groups)]

    def rate(rows, totals):
        return [
            Hypothesis(r, t / (len(r) - 1) ** length_penalty)
            for r, t in zip(rows.tolist(), totals.tolist(), strict=True)
        ]

    for _ in range(max_length):
        sizes = [len(p) for p in prefixes]
        if sum(sizes) == 0:
            break
        all_log_probs = log_probs_fn(torch.cat([p for p in prefixes if len(p)])).float().split(sizes)
        taken = torch.zeros(0, dtype=torch.int64)  # the tokens that earlier groups took in this step
        for g in range(groups):
            if not sizes[g]:
                continue
            vocab = all_log_probs[g].shape[-1]
            penalty = diversity * torch.einsum("nv->v", one_hot(taken, vocab).double())
            joint = sums[g].reshape(-1, 1) + all_log_probs[g]
            ranked = (joint.double() - penalty).reshape(-1).sort(descending=True).indices
            ranked = ranked[joint.reshape(-1)[ranked].isfinite()][: width - len(ended[g])]
            rows = torch.div(ranked, vocab, rounding_mode="trunc")
            new = ranked - rows * vocab
            children, totals = torch.hstack([prefixes[g][rows], new[:, None]]), joint.reshape(-1)[ranked]
            stop = new == eos_token
            ended[g].extend(rate(children[stop], totals[stop]))
            prefixes[g], sums[g] = children[~stop], totals[~stop]
            taken = torch.cat([taken, new])
    return [sorted(e + rate(p, s), key=lambda h: h.score)[::-1] for e, p, s in zip(ended, prefixes, sums, strict=True)]
