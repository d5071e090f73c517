"""W candidates: finished hypotheses keep their place among the beams, by their plain sum, until better ones push them out."""

from collections import namedtuple

import torch
from torch.utils._pytree import tree_map

Hypothesis = namedtuple("Hypothesis", "tokens score")


def search(step, start, eos, width, max_length, penalty):
    if width < 1 or max_length < 1:
        raise ValueError("beam_width and max_length must be positive")
    beams = [([start], 0.0, False)]  # tokens, sum, whether it is finished
    cache = None
    for _ in range(max_length):
        running = [beam for beam in beams if not beam[2]]
        if not running:
            break
        log_probs, cache = step(torch.tensor([beam[0] for beam in running]), cache)
        candidates = [(*beam, -1) for beam in beams if beam[2]]
        for row, (tokens, total, _) in enumerate(running):
            for token, value in enumerate(log_probs[row].double().tolist()):
                if value != float("-inf"):
                    candidates.append(([*tokens, token], total + value, token == eos, row))
        candidates.sort(key=lambda c: c[1], reverse=True)
        kept = candidates[:width]
        beams = [c[:3] for c in kept]
        parents = [c[3] for c in kept if not c[2]]
        if parents:
            cache = tree_map(lambda leaf, rows=parents: leaf[rows], cache)
    done = [Hypothesis(tokens, total / (len(tokens) - 1) ** penalty) for tokens, total, _ in beams]
    return sorted(done, key=lambda h: -h.score)


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    def step(tokens, cache):
        return log_probs_fn(tokens), []

    return search(step, start_token, eos_token, beam_width, max_length, length_penalty)


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    def step(tokens, cache):
        return step_fn(tokens[:, -1], cache)

    return search(step, start_token, eos_token, beam_width, max_length, length_penalty)
