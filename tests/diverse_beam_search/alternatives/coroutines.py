"""Each group is a generator: it yields its prefixes, receives log-probabilities and the tokens taken so far, and adds its own."""

import heapq
import math
from typing import NamedTuple

import torch


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def search(start, eos, width, max_length, strength, alpha):
    """Yields lists of prefixes; is sent (rows of log-probabilities, list of taken tokens); returns its hypotheses."""
    live, done = [(0.0, (start,))], []
    for length in range(1, max_length + 1):
        rows, taken = yield [prefix for _, prefix in live]
        children = [
            (total + value - strength * taken.count(token), total + value, (*prefix, token))
            for (total, prefix), row in zip(live, rows, strict=True)
            for token, value in enumerate(row)
            if value != -math.inf
        ]
        children = heapq.nlargest(2 * width, children)
        done += [(total / length**alpha, prefix) for _, total, prefix in children[:width] if prefix[-1] == eos]
        done = heapq.nlargest(width, done)
        live = [(total, prefix) for _, total, prefix in children if prefix[-1] != eos][:width]
        taken.extend(prefix[-1] for _, prefix in live)
        if not live:
            return done
        reach = max(total for total, _ in live) / (max_length if alpha > 0 else length) ** alpha
        if len(done) == width and done[-1][0] > reach:
            return done
    return heapq.nlargest(width, done + [(total / max_length**alpha, prefix) for total, prefix in live])


def diverse_beam_search(
    log_probs_fn, start_token, eos_token, beam_width, max_length, *, groups, diversity, length_penalty=0.0
):
    if beam_width < 1 or max_length < 1 or groups < 1:
        raise ValueError("beam_width, max_length and groups must be at least 1")
    if beam_width % groups:
        raise ValueError("groups must divide beam_width")
    if math.isnan(diversity) or math.isinf(diversity) or diversity < 0:
        raise ValueError("diversity must be finite and at least 0")
    searches = {
        g: search(start_token, eos_token, beam_width // groups, max_length, diversity, length_penalty)
        for g in range(groups)
    }
    asked, found = {g: next(s) for g, s in searches.items()}, {}
    while asked:
        table = log_probs_fn(torch.tensor([list(p) for prefixes in asked.values() for p in prefixes])).double().tolist()
        taken, at, waiting = [], 0, {}
        for g, prefixes in asked.items():
            try:
                waiting[g] = searches[g].send((table[at : at + len(prefixes)], taken))
            except StopIteration as end:
                found[g] = end.value
            at += len(prefixes)
        asked = waiting
    return [[Hypothesis(list(prefix), score) for score, prefix in found[g]] for g in range(groups)]
