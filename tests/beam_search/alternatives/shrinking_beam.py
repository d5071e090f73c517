"""W candidates: each finished hypothesis leaves the beam, which is one narrower from then on. Two separate loops."""

import heapq
from typing import NamedTuple

import torch
from torch.utils import _pytree


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def check(beam_width, max_length):
    if min(beam_width, max_length) < 1:
        raise ValueError("beam_width and max_length start at 1")


def split(prefixes, totals, log_probs, eos, places):
    """The best `places` children: (those that ended, those that run on, the parents of the latter)."""
    table = (torch.tensor(totals, dtype=torch.float64).unsqueeze(1) + log_probs.double()).tolist()
    children = ((value, row, token) for row, line in enumerate(table) for token, value in enumerate(line))
    chosen = heapq.nlargest(places, (child for child in children if child[0] > -float("inf")))
    ended = [(prefixes[row] + [token], value) for value, row, token in chosen if token == eos]
    others = [(prefixes[row] + [token], value, row) for value, row, token in chosen if token != eos]
    return ended, others


def ranked(pairs, penalty):
    scored = [Hypothesis(tokens, total / pow(len(tokens) - 1, penalty)) for tokens, total in pairs]
    return sorted(scored, key=lambda h: h.score, reverse=True)


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    check(beam_width, max_length)
    prefixes, totals, finished = [[start_token]], [0.0], []
    while prefixes and len(prefixes[0]) <= max_length:
        log_probs = log_probs_fn(torch.tensor(prefixes, dtype=torch.long))
        ended, others = split(prefixes, totals, log_probs, eos_token, beam_width - len(finished))
        finished += ended
        prefixes, totals = [o[0] for o in others], [o[1] for o in others]
    return ranked(finished + list(zip(prefixes, totals, strict=True)), length_penalty)


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    check(beam_width, max_length)
    prefixes, totals, finished, cache = [[start_token]], [0.0], [], None
    for _ in range(max_length):
        log_probs, cache = step_fn(torch.tensor([prefix[-1] for prefix in prefixes]), cache)
        ended, others = split(prefixes, totals, log_probs, eos_token, beam_width - len(finished))
        finished += ended
        prefixes, totals = [o[0] for o in others], [o[1] for o in others]
        if not prefixes:
            break
        leaves, structure = _pytree.tree_flatten(cache)
        cache = _pytree.tree_unflatten([leaf[[o[2] for o in others]] for leaf in leaves], structure)
    return ranked(finished + list(zip(prefixes, totals, strict=True)), length_penalty)
