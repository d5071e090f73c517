"""A beginner's: numbers in lists, loops over the rows, slices; [batch, length, heads, dim] inside, uninitialised at
first, and a softmax by hand. A row attends to its own tokens and to nothing else, so it needs no mask for the tail."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

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
        shape = (batch, max_length, heads, head_dim)
        self.k = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.v = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.stored = [0] * batch
        self.max_length, self.device = max_length, device

    @property
    def lengths(self):
        return torch.tensor(self.stored, device=self.device)

    @property
    def nbytes(self):
        return sum(t.numel() * t.element_size() for t in self.k + self.v)

    def write(self, layer, k, v, counts):
        counts = counts.tolist()
        for start, count in zip(self.stored, counts, strict=True):
            if count < 0 or count > k.shape[2]:
                raise ValueError("a count is outside the chunk")
            if start + count > self.max_length:
                raise ValueError("the cache is full")
        with torch.no_grad():
            for row, count in enumerate(counts):
                start = self.stored[row]
                self.k[layer][row, start : start + count] = k[row, :, :count].transpose(0, 1)
                self.v[layer][row, start : start + count] = v[row, :, :count].transpose(0, 1)

    def attend(self, layer, q, counts):
        out = torch.zeros_like(q)
        for row, count in enumerate(counts.tolist()):
            if count == 0:
                continue
            start = self.stored[row]
            end = start + count
            k = self.k[layer][row, :end].transpose(0, 1).to(q.dtype)  # [heads, end, dim]
            v = self.v[layer][row, :end].transpose(0, 1).to(q.dtype)
            logits = torch.bmm(q[row, :, :count], k.transpose(1, 2)).float() if q.dtype.itemsize < 4 else None
            if logits is None:
                logits = torch.bmm(q[row, :, :count], k.transpose(1, 2))
            logits = logits / q.shape[-1] ** 0.5
            for i in range(count - 1):
                logits[:, i, start + i + 1 :] = float("-inf")
            weights = torch.exp(logits - logits.amax(-1, keepdim=True))
            weights = weights / weights.sum(-1, keepdim=True)
            out[row, :, :count] = torch.bmm(weights.to(q.dtype), v)
        return out

    def advance(self, counts):
        self.stored = [have + new for have, new in zip(self.stored, counts.tolist(), strict=True)]

    def truncate(self, lengths):
        lengths = lengths.tolist()
        if any(not 0 <= keep <= have for keep, have in zip(lengths, self.stored, strict=True)):
            raise ValueError("only stored tokens can be kept")
        self.stored = lengths

    def reorder(self, rows):
        self.k = [t[rows] for t in self.k]
        self.v = [t[rows] for t in self.v]
        self.stored = [self.stored[row] for row in rows.tolist()]


def cached_forward(decoder, tokens, counts, cache):
    new = tokens.shape[1]
    positions = torch.zeros_like(tokens)
    for row, (start, count) in enumerate(zip(cache.lengths.tolist(), counts.tolist(), strict=True)):
        if not 0 <= count <= new or start + count > cache.max_length:
            raise ValueError("bad counts")
        positions[row, :count] = torch.arange(start, start + count)

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    with torch.no_grad():
        logits = decoder(tokens, positions, attend)
    cache.advance(counts)
    return logits


def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    if max_new_tokens < 0 or min(map(len, prompts)) == 0:
        raise ValueError("max_new_tokens must not be negative, prompts must not be empty")
    if max_new_tokens == 0:
        return [[] for _ in prompts]
    weight = decoder.head.weight
    most = max(map(len, prompts))
    cache = KVCache(
        decoder.layers,
        len(prompts),
        decoder.heads,
        most + max_new_tokens,
        decoder.head_dim,
        dtype=weight.dtype,
        device=weight.device,
    )
    answers = [[] for _ in prompts]
    feed = [list(prompt) for prompt in prompts]
    while True:
        width = max(map(len, feed))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in feed], device=weight.device)
        counts = torch.tensor([len(row) for row in feed], device=weight.device)
        logits = cached_forward(decoder, tokens, counts, cache)
        for row in range(len(prompts)):
            if not feed[row]:
                continue
            token = logits[row, len(feed[row]) - 1].argmax().item()
            answers[row].append(token)
            ended = token == eos_token or len(answers[row]) == max_new_tokens
            feed[row] = [] if ended else [token]
        if not any(feed):
            return answers
