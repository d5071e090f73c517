"""Top-k in two exact stages, which is what the fast kernels do: about three times as fast as torch.topk on a CPU.

torch.topk spends most of its time on selecting, not on reading. But a maximum is as cheap as reading: cut the row into
chunks of 128, take each chunk's maximum, and only the k chunks with the largest maxima can hold any of the k best (every
number of another chunk is beaten by those k maxima). So the second stage selects among k * 128 numbers, not 128 256.
It is no answer to begin with in an interview: twice the code, a padded last chunk, indices to translate, and it only
pays where the vocabulary is much larger than k * 128. It is a good answer to "can you make it faster?".
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 128


def top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What logits.topk(k) gives, with the order of equal numbers left open; a padding index may follow all real ones."""
    vocab = logits.shape[-1]
    if vocab < 4 * CHUNK * k:
        return tuple(logits.topk(k, dim=-1))
    whole = F.pad(logits, (0, -vocab % CHUNK), value=-torch.inf) if vocab % CHUNK else logits
    chunks = whole.unflatten(-1, (-1, CHUNK))  # [*batch, chunks, CHUNK]
    best = chunks.amax(-1).topk(k, dim=-1).indices  # [*batch, k]: where the k best must be
    candidates = chunks.gather(-2, best[..., None].expand(*best.shape, CHUNK)).flatten(-2)  # [*batch, k * CHUNK]
    values, places = candidates.topk(k, dim=-1)
    return values, best.gather(-1, places // CHUNK) * CHUNK + places % CHUNK


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError("k must be at least 1")
    values, _ = top_k(logits.detach(), min(k, logits.shape[-1]))
    return logits.masked_fill(logits < values[..., -1:], -torch.inf)


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1 or not temperature >= 0:
        raise ValueError("k must be at least 1, and the temperature at least 0")
    if temperature == 0:
        return logits.argmax(-1)
    best, tokens = top_k(logits, min(k, logits.shape[-1]))
    wide = best.to(torch.promote_types(logits.dtype, torch.float32))
    probs = torch.softmax((wide - wide[..., :1]) / temperature, dim=-1)
    rank = torch.multinomial(probs.flatten(0, -2) if probs.dim() > 1 else probs, 1, generator=generator)
    return tokens.gather(-1, rank.view(*tokens.shape[:-1], 1)).squeeze(-1)
