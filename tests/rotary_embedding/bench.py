"""Queries or keys of a layer, turned: bound by memory traffic."""

from functools import partial

import torch

from dojo.testing.bench import work


def with_matrices(x, positions, frequencies):
    """The textbook's way: a block-diagonal matrix for each token."""
    dim, half = x.shape[-1], len(frequencies)
    angles = positions[:, None] * frequencies
    matrix = torch.zeros(len(positions), dim, dim)
    at = torch.arange(half)
    matrix[:, at, at] = matrix[:, at + half, at + half] = angles.cos().float()
    matrix[:, at + half, at] = angles.sin().float()
    matrix[:, at, at + half] = -angles.sin().float()
    return torch.einsum("nij, bhnj -> bhni", matrix, x)


def llama(x, positions, frequencies):
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    angles = positions[:, None] * frequencies
    cos, sin = (torch.cat([f(angles)] * 2, -1).float()[None] for f in (torch.cos, torch.sin))
    return lambda: apply_rotary_pos_emb(x, x[:, :0], cos, sin)[0]


@work(batch=4, heads=8, n=512, dim=64, sweep={"n": (128, 256)}, grows={"batch": 1, "n": 1}, tiny={"n": 32})
def queries(bench, batch, heads, n, dim):
    """Half-split pairs, float32."""
    x, positions = bench.randn(batch, heads, n, dim), torch.arange(n, device=bench.device)
    frequencies = 10000.0 ** -(torch.arange(0, dim, 2, dtype=torch.float64, device=bench.device) / dim)
    bench.katas(lambda kata: partial(kata.rotate, x, positions, frequencies, interleaved=False))
    bench.way("naive: a matrix for each token", partial(with_matrices, x, positions, frequencies))
    bench.peer("transformers", lambda: llama(x, positions, frequencies))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(bytes=2 * x.nbytes)
