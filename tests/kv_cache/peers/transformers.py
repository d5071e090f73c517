"""transformers' StaticLayer, one for each row and layer: its batches have one length for all rows. The rest of a step, and
the search, are put together here."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import StaticLayer

# attend(layer, q, k, v), each [batch, heads, new, head_dim] -> the answers, of q's shape
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Block(nn.Module):
    """Given. A transformer block that leaves the attention to `attend(q, k, v)`."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(attend(*heads).transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """Given. A language model with learned positions; it knows neither masks nor caches."""

    def __init__(self, vocab: int, layers: int, heads: int, head_dim: int, max_positions: int) -> None:
        super().__init__()
        self.layers, self.heads, self.head_dim, self.max_positions = layers, heads, head_dim, max_positions
        dim = heads * head_dim
        self.embed, self.position = nn.Embedding(vocab, dim), nn.Embedding(max_positions, dim)
        self.blocks = nn.ModuleList(Block(heads, head_dim) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocab)

    def forward(
        self, tokens: Int64[Tensor, "batch new"], positions: Int64[Tensor, "batch new"], attend: Attend
    ) -> Float[Tensor, "batch new vocab"]:
        """Logits of each next token. Calls `attend` once per layer. Positions lie in [0, max_positions), padding's too."""
        x = self.embed(tokens) + self.position(positions)
        for layer, block in enumerate(self.blocks):
            x = block(x, partial(attend, layer))
        return self.head(self.norm(x))


def uncached_forward(decoder: Decoder, tokens: Int64[Tensor, "batch length"]) -> Float[Tensor, "batch length vocab"]:
    """Given. Logits of whole texts of equal length, computed anew: what the cache must reproduce."""
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    return decoder(tokens, positions, lambda layer, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))


class KVCache:
    def __init__(self, layers, batch, heads, max_length, head_dim, *, dtype=torch.float32, device=None):
        self.rows = [[StaticLayer(max_length) for _ in range(layers)] for _ in range(batch)]
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.max_length, self.dtype = max_length, dtype
        self.nbytes = 2 * layers * batch * heads * max_length * head_dim * dtype.itemsize

    def check(self, counts, new):
        if (counts < 0).any() or (counts > new).any() or (self.lengths + counts > self.max_length).any():
            raise ValueError(f"counts {counts.tolist()} after {self.lengths.tolist()}")

    @torch.no_grad()
    def write(self, layer, k, v, counts):
        self.check(counts, k.shape[2])
        for row, (start, count) in enumerate(zip(self.lengths.tolist(), counts.tolist(), strict=True)):
            place = self.rows[row][layer]
            place.cumulative_length.fill_(start)
            place.update(*(part[row : row + 1, :, :count].to(self.dtype) for part in (k, v)))

    def attend(self, layer, q, counts):
        answers = torch.zeros_like(q)
        for row, (start, count) in enumerate(zip(self.lengths.tolist(), counts.tolist(), strict=True)):
            place, end = self.rows[row][layer], start + count
            if count:
                keys, values = (part[:, :, :end].to(q.dtype) for part in (place.keys, place.values))
                mask = torch.ones(count, end, dtype=torch.bool, device=q.device).tril(start)
                asked = q[row : row + 1, :, :count]
                answers[row, :, :count] = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)[0]
        return answers

    def advance(self, counts):
        self.lengths = self.lengths + counts

    def truncate(self, lengths):
        if (lengths < 0).any() or (lengths > self.lengths).any():
            raise ValueError("only stored tokens can be kept")
        self.lengths = lengths.clone()

    def reorder(self, rows):
        self.rows = [copy.deepcopy(self.rows[row]) for row in rows.tolist()]
        self.lengths = self.lengths[rows]


def cached_forward(decoder, tokens, counts, cache):
    cache.check(counts, tokens.shape[1])
    steps = torch.arange(tokens.shape[1], device=tokens.device)
    positions = (cache.lengths[:, None] + steps).masked_fill(steps >= counts[:, None], 0)

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    with torch.no_grad():
        logits = decoder(tokens, positions, attend)
    cache.advance(counts)
    return logits


def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    if not all(prompts):
        raise ValueError("every prompt needs at least one token")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, got {max_new_tokens}")
    weight = decoder.embed.weight
    counts = torch.tensor([len(prompt) for prompt in prompts], device=weight.device)
    tokens = nn.utils.rnn.pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True).to(weight.device)
    cache = KVCache(
        decoder.layers,
        len(prompts),
        decoder.heads,
        tokens.shape[1] + max_new_tokens,
        decoder.head_dim,
        dtype=weight.dtype,
        device=weight.device,
    )
    answers: list[list[int]] = [[] for _ in prompts]
    for _ in range(max_new_tokens):
        logits = cached_forward(decoder, tokens, counts, cache)
        # At each row's last real token. A finished row has none; what is chosen for it is dropped.
        chosen = logits[torch.arange(len(prompts), device=weight.device), counts - 1].argmax(-1)  # [batch]
        running = counts > 0
        for answer, token, runs in zip(answers, chosen.tolist(), running.tolist(), strict=True):
            if runs:
                answer.append(token)
        if eos_token is not None:
            running = running & (chosen != eos_token)
        if not running.any():
            break
        tokens, counts = chosen[:, None], running.long()  # a finished row adds nothing any more
    return answers
