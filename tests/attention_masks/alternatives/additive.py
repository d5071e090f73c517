"""Numbers 0 and -inf inside, and a comparison at the end; two products a block, joined by a common maximum and sum."""

import torch
from torch.nn import functional as F

INF = float("inf")


def places(queries, keys, device=None):
    if queries > keys:
        raise ValueError("queries must not be more than keys")
    j = torch.arange(keys, device=device)
    return j[keys - queries :].unsqueeze(1), j.unsqueeze(0)


def causal_mask(queries, keys):
    places(queries, keys)
    numbers = torch.full((queries, keys), -INF).triu(keys - queries + 1)
    return numbers == 0


def window_mask(queries, keys, window, *, sinks=0):
    if not (window >= 1 and sinks >= 0):
        raise ValueError("window or sinks")
    i, j = places(queries, keys)
    numbers = torch.zeros(queries, keys)
    numbers[(i - j).expand(queries, keys) >= window] = -INF
    numbers[:, :sinks] = 0
    return (numbers + torch.zeros(queries, keys).masked_fill(j > i, -INF)) > -INF


def numbered(documents):
    """The number of each token's run in its row; raises ValueError where a label has two runs."""
    if bool((documents < -1).any()):
        raise ValueError("labels start at -1")
    number = F.pad((documents[..., 1:] != documents[..., :-1]).long(), (1, 0)).cumsum(-1)
    n = documents.shape[-1]
    for labels, runs in zip(documents.reshape(-1, n), number.reshape(-1, n), strict=True):
        pairs = torch.stack([labels, runs])[:, labels >= 0].unique(dim=1)
        if pairs.shape[1] != len(pairs[0].unique()):
            raise ValueError("a label comes back")
    return number


def document_mask(documents):
    number = numbered(documents).masked_fill(documents < 0, -1)
    same = (number.unsqueeze(-1) - number.unsqueeze(-2)).eq(0)
    real = number.ge(0)
    return torch.tril(same & real.unsqueeze(-1) & real.unsqueeze(-2))


def document_positions(documents):
    number = numbered(documents)
    ones = torch.ones_like(number)
    lengths = torch.zeros_like(number).scatter_add_(-1, number, ones)
    begins = lengths.cumsum(-1) - lengths
    return ones.cumsum(-1) - 1 - begins.gather(-1, number)


def alibi_slopes(heads):
    if heads < 1:
        raise ValueError("no heads")
    power = 2 ** torch.tensor(heads + 0.5).log2().floor().int().item()
    exponents = torch.cat([torch.arange(1, power + 1) * 2, torch.arange(1, 2 * power, 2)])[:heads]
    return torch.exp2(exponents.double() * (-4 / power))


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    i, j = places(queries, keys)
    bias = alibi_slopes(heads).view(-1, 1, 1) * (j - i)
    return (bias + torch.zeros(queries, keys).masked_fill(j > i, -INF)).to(dtype)


def window_attention(q, k, v, window):
    if window < 1:
        raise ValueError("window")
    n, dim = q.shape[-2:]
    w = min(window, n)
    extra = (w - n % w) % w
    wide = torch.promote_types(q.dtype, torch.float32)
    q, own_k, own_v = (F.pad(t.to(wide), (0, 0, 0, extra)).unflatten(-2, (-1, w)) for t in (q, k, v))
    before_k, before_v = (F.pad(t, (0, 0, 0, 0, 1, 0))[..., :-1, :, :] for t in (own_k, own_v))
    i, j = places(w, w, q.device)
    own = (q / dim**0.5) @ own_k.mT + torch.zeros(w, w, dtype=wide, device=q.device).masked_fill(j > i, -INF)
    before = (q / dim**0.5) @ before_k.mT
    far = torch.zeros(w, w, dtype=wide, device=q.device).masked_fill(j <= i, -INF).repeat(before.shape[-3], 1, 1)
    far[0] = -INF
    before = before + far
    highest = torch.maximum(own.amax(-1, keepdim=True), before.amax(-1, keepdim=True)).detach()
    own, before = (own - highest).exp(), (before - highest).exp()
    total = own.sum(-1, keepdim=True) + before.sum(-1, keepdim=True)
    answers = (own @ own_v + before @ before_v) / total
    return answers.flatten(-3, -2)[..., :n, :].to(v.dtype)
