"""2W candidates, always `beam_width` rows in one tensor [groups, W]; a settled group goes on running and counting until all are."""

from typing import NamedTuple

import torch

LOW = -1e30


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def diverse_beam_search(
    log_probs_fn, start_token, eos_token, beam_width, max_length, *, groups, diversity, length_penalty=0.0
):
    for number in (beam_width, max_length, groups):
        if number <= 0:
            raise ValueError("sizes are positive")
    width, rest = divmod(beam_width, groups)
    if rest:
        raise ValueError("the groups are of equal size")
    if diversity != diversity or diversity < 0 or diversity == float("inf"):
        raise ValueError("diversity is >= 0")
    tokens = torch.full((groups, width, 1), start_token)
    totals = torch.full((groups, width), LOW, dtype=torch.float64)
    totals[:, 0] = 0
    pools = [[] for _ in range(groups)]

    def add(pool, row, total):
        if total > LOW / 2:
            pool.append(Hypothesis(row, total / (len(row) - 1) ** length_penalty))
            pool.sort(key=lambda h: h.score, reverse=True)
            del pool[width:]

    for length in range(1, max_length + 1):
        log_probs = log_probs_fn(tokens.flatten(0, 1)).double().clamp(min=LOW).unflatten(0, (groups, width))
        vocab = log_probs.shape[-1]
        bias = torch.zeros(vocab, dtype=torch.float64)
        new_tokens, new_totals, settled = [], [], []
        for g in range(groups):
            plain = (totals[g].unsqueeze(-1) + log_probs[g]).view(-1)
            order = torch.argsort(plain - bias.repeat(width), descending=True)[: 2 * width].tolist()
            live = []
            for rank, index in enumerate(order):
                parent, token = divmod(index, vocab)
                row, total = [*tokens[g, parent].tolist(), token], plain[index].item()
                if token == eos_token:
                    if rank < width:
                        add(pools[g], row, total)
                elif len(live) < width:
                    live.append((row, total))
                    if total > LOW / 2:
                        bias[token] += diversity
            live += [([start_token] * (length + 1), 2 * LOW)] * (width - len(live))
            new_tokens.append([row for row, _ in live])
            new_totals.append([total for _, total in live])
            reach = max(new_totals[-1])
            bound = reach / (max_length if length_penalty > 0 else length) ** length_penalty
            settled.append(reach < LOW / 2 or (len(pools[g]) == width and pools[g][-1].score >= bound))
        tokens = torch.tensor(new_tokens)
        totals = torch.tensor(new_totals, dtype=torch.float64).clamp(min=LOW)
        if all(settled):
            break
    if tokens.shape[-1] == max_length + 1:
        for g in range(groups):
            for row, total in zip(tokens[g].tolist(), totals[g].tolist(), strict=True):
                add(pools[g], row, total)
    return pools
