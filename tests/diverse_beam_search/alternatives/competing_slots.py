"""Plain Python lists; W candidates: finished hypotheses keep their place in the group by their plain sum; eos counts in its step."""

from collections import Counter
from typing import NamedTuple

import torch


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def diverse_beam_search(
    log_probs_fn, start_token, eos_token, beam_width, max_length, *, groups, diversity, length_penalty=0.0
):
    if beam_width < 1 or max_length < 1 or groups < 1 or beam_width % groups != 0:
        raise ValueError("beam_width, max_length and groups are positive, and groups divides beam_width")
    if not (diversity >= 0 and diversity != float("inf")):
        raise ValueError("diversity is a finite number, not below 0")
    size = beam_width // groups
    beams = [[([start_token], 0.0, False)] for _ in range(groups)]  # tokens, sum, whether it is finished
    for _ in range(max_length):
        running = [tokens for group in beams for tokens, _, done in group if not done]
        if not running:
            break
        rows = iter(log_probs_fn(torch.tensor(running)).double().tolist())
        taken = Counter()
        for number, group in enumerate(beams):
            candidates = [(total, beam, None) for beam in group for total in [beam[1]] if beam[2]]
            for tokens, total, done in group:
                if done:
                    continue
                for token, value in enumerate(next(rows)):
                    if value > -float("inf"):
                        child = ([*tokens, token], total + value, token == eos_token)
                        candidates.append((total + value - diversity * taken[token], child, token))
            candidates.sort(key=lambda c: -c[0])
            candidates = candidates[:size]
            beams[number] = [child for _, child, _ in candidates]
            taken.update(token for _, _, token in candidates if token is not None)
    return [
        sorted(
            (Hypothesis(tokens, total / (len(tokens) - 1) ** length_penalty) for tokens, total, _ in group),
            key=lambda h: -h.score,
        )
        for group in beams
    ]
