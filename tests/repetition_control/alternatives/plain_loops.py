"""A beginner's loops over rows and tokens, one logit at a time."""

from collections import Counter


def repetition_penalty(logits, tokens, penalty):
    if penalty != penalty or penalty <= 0:
        raise ValueError("penalty must be above 0")
    result = logits.clone()
    for row in range(logits.shape[0]):
        for token in set(tokens[row].tolist()):
            if logits[row, token] > 0:
                result[row, token] = logits[row, token] / penalty
            else:
                result[row, token] = logits[row, token] * penalty
    return result


def frequency_presence_penalty(logits, tokens, frequency, presence):
    result = logits.clone()
    for row in range(logits.shape[0]):
        for token, count in Counter(tokens[row].tolist()).items():
            result[row, token] = result[row, token].item() - count * frequency - presence
    return result


def block_repeated_ngrams(logits, tokens, n):
    if n < 1:
        raise ValueError("n must be 1 or more")
    result = logits.clone()
    for row, history in enumerate(tokens.tolist()):
        prefix = history[len(history) - (n - 1) :] if n > 1 else []
        for start in range(len(history) - n + 1):
            if history[start : start + n - 1] == prefix:
                result[row, history[start + n - 1]] = -float("inf")
    return result
