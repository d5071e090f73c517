"""2W candidates; prefixes are linked nodes that are spelled out at the end, top-k per beam comes before top-k over all beams, and
the search without a cache is the search with one whose cache is the prefixes themselves."""

from typing import NamedTuple

import torch
from torch import Tensor


class Hypothesis(NamedTuple):
    tokens: list[int]
    score: float


class Node(NamedTuple):
    token: int
    total: float
    parent: "Node | None"

    def spell(self):
        node, tokens = self, []
        while node is not None:
            tokens.append(node.token)
            node = node.parent
        return tokens[::-1]


def follow(tree, parents):
    match tree:
        case Tensor():
            return tree[parents]
        case dict():
            return {name: follow(branch, parents) for name, branch in tree.items()}
        case list():
            return [follow(branch, parents) for branch in tree]
        case tuple():
            return tuple(follow(branch, parents) for branch in tree)
    raise TypeError(type(tree))


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    def step(last, prefixes):
        tokens = last[:, None] if prefixes is None else torch.cat([prefixes, last[:, None]], 1)
        return log_probs_fn(tokens), tokens

    return beam_search_with_cache(step, start_token, eos_token, beam_width, max_length, length_penalty)


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    if beam_width < 1 or max_length < 1:
        raise ValueError("beam_width and max_length must be at least 1")
    beams, finished, cache = [Node(start_token, 0.0, None)], [], None
    for length in range(1, max_length + 1):
        log_probs, cache = step_fn(torch.tensor([node.token for node in beams]), cache)
        values, tokens = log_probs.double().topk(min(2 * beam_width, log_probs.shape[-1]))
        children = [
            (Node(token, node.total + value, node), row)
            for row, node in enumerate(beams)
            for value, token in zip(values[row].tolist(), tokens[row].tolist(), strict=True)
            if value > float("-inf")
        ]
        children = sorted(children, key=lambda child: child[0].total)[: -2 * beam_width - 1 : -1]
        finished += [(n, n.total / length**length_penalty) for n, _ in children[:beam_width] if n.token == eos_token]
        running = [child for child in children if child[0].token != eos_token][:beam_width]
        if not running:
            beams = []
            break
        beams = [node for node, _ in running]
        cache = follow(cache, torch.tensor([row for _, row in running]))
        reachable = beams[0].total / (max_length if length_penalty > 0 else length) ** length_penalty
        if sum(score > reachable for _, score in finished) >= beam_width:
            beams = []
            break
    finished += [(node, node.total / max_length**length_penalty) for node in beams]
    finished.sort(key=lambda pair: pair[1], reverse=True)
    return [Hypothesis(node.spell(), score) for node, score in finished[:beam_width]]
