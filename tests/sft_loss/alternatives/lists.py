"""Python lists and loops over rows; a row's loss is log-sum-exp minus the gathered logit."""

from collections import namedtuple

import torch

Packed = namedtuple("Packed", "tokens labels positions segments")


def build_labels(tokens, attention_mask, prompt_lengths):
    if tokens.shape != attention_mask.shape or len(tokens) != len(prompt_lengths) or prompt_lengths.dim() != 1:
        raise ValueError("shapes")
    rows = []
    for row, mask, prompt in zip(tokens.tolist(), attention_mask.tolist(), prompt_lengths.tolist(), strict=True):
        attended = [place for place, counts in enumerate(mask) if counts]
        if not 0 <= prompt <= len(attended):
            raise ValueError("a prompt is longer than its row")
        answer = set(attended[prompt:])
        rows.append([token if place in answer else -100 for place, token in enumerate(row)])
    return torch.tensor(rows, dtype=torch.int64, device=tokens.device)


def causal_lm_loss(logits, labels, *, num_items=None):
    if list(labels.shape) != list(logits.shape)[:2]:
        raise ValueError("shapes")
    if type(num_items) is int and num_items < 0:
        raise ValueError("num_items")
    z = logits if logits.dtype == torch.float64 else logits.float()
    total, counted = z[:, :0].sum(), 0
    for row, target in zip(z[:, :-1], labels[:, 1:], strict=True):
        mask = target >= 0
        picked = row.gather(1, target.clamp(min=0)[:, None])[:, 0]
        total = total + torch.where(mask, row.logsumexp(1) - picked, 0).sum()
        counted = counted + mask.sum()
    divisor = counted if num_items is None else num_items
    return total / max(int(divisor), 1)


def pack(tokens, labels, max_length):
    if len(tokens) != len(labels):
        raise ValueError("as many labels as tokens")
    rows = []
    for example, label in zip(tokens, labels, strict=True):
        words, targets = example.tolist(), label.tolist()
        if not words or len(words) > max_length or len(words) != len(targets):
            raise ValueError("an example does not fit")
        if not rows or len(rows[-1][0]) + len(words) > max_length:
            rows.append(([], [], [], []))
        row = rows[-1]
        number = row[3][-1] + 1 if row[3] else 0
        row[0].extend(words)
        row[1].extend([-100, *targets[1:]])
        row[2].extend(range(len(words)))
        row[3].extend([number] * len(words))
    return [Packed(*(torch.tensor(column) for column in row)) for row in rows]
