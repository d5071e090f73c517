"""transformers: its mask functions, how it finds packed documents, and BLOOM's slopes.

Its masks have no sinks, padding is a mask of its own there, and arguments are not checked, so that stands here. BLOOM's
slopes are float32: their exponents are multiples of 4 / power, to which they are rounded. Attention in a window is torch's
fused call over blocks, with transformers' mask."""

import torch
from torch.nn import functional as F
from transformers import masking_utils
from transformers.models.bloom.modeling_bloom import build_alibi_tensor


def made(function, queries, keys, batch=1, device="cpu"):
    if queries > keys:
        raise ValueError("more queries than keys")
    given = {"mask_function": function, "allow_is_causal_skip": False, "use_vmap": False, "device": device}
    return masking_utils.sdpa_mask(batch, queries, keys, q_offset=keys - queries, **given)[:, 0]


def causal_mask(queries, keys):
    return made(masking_utils.causal_mask_function, queries, keys)[0].clone()


def window_mask(queries, keys, window, *, sinks=0):
    if window < 1 or sinks < 0:
        raise ValueError("window or sinks")
    near = masking_utils.sliding_window_overlay(window)
    seen = masking_utils.or_masks(near, lambda batch, head, i, j: j < sinks)
    return made(masking_utils.and_masks(masking_utils.causal_mask_function, seen), queries, keys)[0].clone()


def rows_of(documents):
    rows = documents.reshape(-1, documents.shape[-1])
    for row in rows:
        runs = row.unique_consecutive()
        runs = runs[runs != -1]
        if (row < -1).any() or len(runs) != len(runs.unique()):
            raise ValueError("a document comes back, or a label is below -1")
    return rows


def document_positions(documents):
    rows = rows_of(documents)
    begins = F.pad(rows[:, 1:] != rows[:, :-1], (1, 0), value=True)
    places = torch.arange(rows.shape[1], device=rows.device)
    return (places - (places * begins).cummax(-1).values).reshape(documents.shape)


def document_mask(documents):
    rows, n = rows_of(documents), documents.shape[-1]
    number = masking_utils.find_packed_sequence_indices(document_positions(rows))
    function = masking_utils.causal_mask_function
    if number is not None:  # None where each row is one document
        function = masking_utils.and_masks(function, masking_utils.packed_sequence_mask_function(number))
    mask = made(function, n, n, len(rows), documents.device) & (rows >= 0)[:, :, None] & (rows >= 0)[:, None]
    return mask.reshape(*documents.shape, n)


def alibi_slopes(heads):
    if heads < 1:
        raise ValueError("heads")
    exponents = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1].double().log2()
    step = 4 / 2 ** (heads.bit_length() - 1)
    return torch.exp2((exponents / step).round() * step)


def alibi_bias(heads, queries, keys, *, dtype=torch.float32):
    visible = causal_mask(queries, keys)
    distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
    return (-alibi_slopes(heads)[:, None, None] * distance).masked_fill(~visible, -torch.inf).to(dtype)


def window_attention(q, k, v, window):
    if window < 1:
        raise ValueError("window")
    n, answers = q.shape[-2], []
    size = min(window, n)
    for begin in range(0, n, size):
        end, first = min(begin + size, n), max(0, begin - size)
        mask = window_mask(end - begin, end - first, window).to(q.device)
        own, seen = slice(begin, end), slice(first, end)
        scaled = q[..., own, :] * q.shape[-1] ** -0.5
        given = scaled, k[..., seen, :], v[..., seen, :], mask
        answers.append(F.scaled_dot_product_attention(*given, scale=1.0))
    return torch.cat(answers, -2)
