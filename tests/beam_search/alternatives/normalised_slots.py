"""W candidates, ranked by their present score (sum over length ** penalty), all beams in fixed tensors with a finished flag.

The batch always has beam_width rows: at first all but one have the sum -inf, and finished rows are fed to the model too.
"""

from typing import NamedTuple

import torch


class Hypothesis(NamedTuple):
    tokens: list
    score: float


def reorder(cache, rows):
    if isinstance(cache, torch.Tensor):
        return cache.index_select(0, rows)
    if isinstance(cache, dict):
        return {key: reorder(value, rows) for key, value in cache.items()}
    return type(cache)([reorder(value, rows) for value in cache])


def run(call, start, eos, width, max_length, penalty):
    if width <= 0:
        raise ValueError("no beams")
    if max_length <= 0:
        raise ValueError("no steps")
    tokens = torch.full((width, 1), start)
    sums = torch.full((width,), -torch.inf)
    sums[0] = 0.0
    sizes = torch.zeros(width)
    done = torch.zeros(width, dtype=torch.bool)
    cache = None
    for _ in range(max_length):
        log_probs, cache = call(tokens, cache)
        vocab = log_probs.shape[1]
        stay = torch.full((vocab,), -torch.inf)
        stay[0] = 0.0  # a finished row has one child: itself
        grown = sums[:, None] + torch.where(done[:, None], stay, log_probs.float())
        length = (sizes + (~done).float())[:, None]
        rank = torch.where(grown.isinf(), grown, grown / length.clamp(min=1) ** penalty).reshape(-1)
        order = rank.argsort(descending=True)[:width]
        rows, new = order // vocab, order % vocab
        was_done = done[rows]
        sums, sizes = grown.reshape(-1)[order], length[rows, 0]
        tokens = torch.cat((tokens[rows], torch.where(was_done, -1, new).unsqueeze(1)), 1)
        done = was_done | (new == eos)
        cache = reorder(cache, rows)
        if (done | sums.isinf()).all():
            break
        tokens = tokens.where(tokens >= 0, eos)  # the model sees eos as padding
    results = []
    for row, total, size in zip(tokens.tolist(), sums.tolist(), sizes.int().tolist(), strict=True):
        if total > -float("inf"):
            results.append(Hypothesis(row[: 1 + size], total / size**penalty))
    results.sort(key=lambda h: h.score, reverse=True)
    return results


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return run(
        lambda tokens, cache: (log_probs_fn(tokens), ()), start_token, eos_token, beam_width, max_length, length_penalty
    )


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return run(
        lambda tokens, cache: step_fn(tokens[:, -1], cache),
        start_token,
        eos_token,
        beam_width,
        max_length,
        length_penalty,
    )
