"""tril and triu; memberships of documents as a matrix product; attention with blocks of half a window, two behind."""

import torch


def causal_mask(queries, keys):
    if keys < queries:
        raise ValueError("each query needs its key")
    return torch.ones(queries, keys, dtype=torch.bool).tril(diagonal=keys - queries)


def window_mask(queries, keys, window, *, sinks=0):
    if min(window, sinks + 1) < 1:
        raise ValueError("window >= 1, sinks >= 0")
    past = causal_mask(queries, keys)
    mask = past.triu(keys - queries - window + 1)
    mask[:, :sinks] = past[:, :sinks]
    return mask


def runs(documents):
    new = torch.ones_like(documents, dtype=torch.bool)
    new[..., 1:] = documents[..., 1:] != documents[..., :-1]
    return new


def check(documents):
    if (documents < -1).any():
        raise ValueError("labels")
    index = runs(documents).cumsum(-1)
    equal = documents.unsqueeze(-1) == documents.unsqueeze(-2)
    apart = index.unsqueeze(-1) != index.unsqueeze(-2)
    if (equal & apart & (documents != -1).unsqueeze(-1)).any():
        raise ValueError("a document in two parts")


def document_mask(documents):
    check(documents)
    member = torch.nn.functional.one_hot(runs(documents).cumsum(-1) - 1, documents.shape[-1]).float()
    member = member * (documents >= 0).unsqueeze(-1)
    return (member @ member.transpose(-1, -2)).tril() > 0.5


def document_positions(documents):
    check(documents)
    new = runs(documents).flatten()
    starts = new.nonzero().flatten()
    lengths = torch.cat([starts, starts.new_tensor([len(new)])]).diff()
    places = torch.arange(len(new), device=documents.device)
    return (places - starts.repeat_interleave(lengths)).view(documents.shape)


def alibi_slopes(heads):
    if not heads >= 1:
        raise ValueError("heads")
    n = 1
    while 2 * n <= heads:
        n *= 2
    first = torch.logspace(-8 / n, -8, n, base=2, dtype=torch.float64)
    if n == heads:
        return first
    return torch.cat([first, alibi_slopes(2 * n)[0::2][: heads - n]])


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    visible = causal_mask(queries, keys)
    distance = visible.flip(-1).cumsum(-1).flip(-1) - 1
    bias = torch.einsum("h,qk->hqk", -alibi_slopes(heads), distance.double())
    bias[:, ~visible] = -torch.inf
    return bias.to(dtype)


def window_attention(q, k, v, window):
    if window < 1:
        raise ValueError("window")
    n, dim = q.shape[-2:]
    size = max(1, min(window, n) // 2)
    behind = -(-(min(window, n) - 1) // size)  # blocks that reach back to the window's first key
    blocks = -(-n // size)
    shape = (*q.shape[:-2], blocks * size - n, dim)
    q, k, v = (torch.cat([t, t.new_zeros(shape)], -2).unflatten(-2, (blocks, size)) for t in (q, k, v))
    shape = (*q.shape[:-3], behind, size, dim)
    k, v = (torch.cat([t.new_zeros(shape), t], -3) for t in (k, v))
    index = torch.arange(blocks, device=q.device)[:, None] + torch.arange(behind + 1, device=q.device)
    k, v = (t[..., index, :, :].flatten(-3, -2) for t in (k, v))  # [*batch, blocks, (behind + 1) * size, dim]
    mask = window_mask(size, (behind + 1) * size, window).to(q.device)
    exists = (index >= behind).repeat_interleave(size, -1)
    scores = torch.einsum("...qd,...kd->...qk", q / dim**0.5, k)
    bias = torch.zeros(blocks, *mask.shape, dtype=q.dtype, device=q.device)
    bias[~(mask & exists[:, None])] = -torch.inf
    weights = torch.softmax(scores + bias, dim=-1)
    return torch.einsum("...qk,...kd->...qd", weights, v).flatten(-3, -2)[..., :n, :]
