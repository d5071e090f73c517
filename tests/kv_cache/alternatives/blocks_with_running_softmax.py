"""Attention goes through the stored tokens in blocks and keeps a running maximum and sum, as kernels for decoding do.
Each layer counts its own tokens; `lengths` follows at the end of a step."""

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


BLOCK = 4


class KVCache:
    def __init__(self, layers, batch, heads, max_length, head_dim, *, dtype=torch.float32, device=None):
        self.k, self.v = (
            torch.zeros(layers, batch, heads, max_length, head_dim, dtype=dtype, device=device) for _ in range(2)
        )
        self.in_layer = torch.zeros(layers, batch, dtype=torch.int64, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.nbytes = 2 * self.k.nbytes

    @property
    def max_length(self):
        return self.k.shape[-2]

    def write(self, layer, k, v, counts):
        new = k.shape[2]
        end = self.lengths + counts
        if counts.lt(0).any() or counts.gt(new).any() or end.gt(self.max_length).any():
            raise ValueError(f"no room for {counts.tolist()}")
        for i in range(new):
            rows = (counts > i).nonzero().flatten()
            self.k[layer, rows, :, self.lengths[rows] + i] = k[rows, :, i].detach().to(self.k.dtype)
            self.v[layer, rows, :, self.lengths[rows] + i] = v[rows, :, i].detach().to(self.v.dtype)
        self.in_layer[layer] = end

    def attend(self, layer, q, counts):
        wide = torch.promote_types(q.dtype, torch.float32)
        query = self.lengths[:, None] + torch.arange(q.shape[2], device=q.device)
        end = int(self.in_layer[layer].max())
        block = max(BLOCK, end // 8)
        highest = torch.full((*q.shape[:3], 1), -torch.inf, dtype=wide, device=q.device)
        total, answer = torch.zeros_like(highest), torch.zeros(q.shape, dtype=wide, device=q.device)
        for start in range(0, end, block):
            part = slice(start, min(start + block, end))
            scores = (q @ self.k[layer, :, :, part].to(q.dtype).mT).to(wide) / q.shape[-1] ** 0.5
            place = torch.arange(part.start, part.stop, device=q.device)
            scores = scores.masked_fill((place > query[..., None])[:, None], -torch.inf)
            higher = torch.maximum(highest, scores.amax(-1, keepdim=True))
            weights, shrink = torch.exp(scores - higher), torch.exp(highest - higher)
            total = total * shrink + weights.sum(-1, keepdim=True)
            answer = answer * shrink + weights @ self.v[layer, :, :, part].to(wide)
            highest = higher
        return (answer / total).to(q.dtype)

    def advance(self, counts):
        self.lengths = self.lengths + counts

    def truncate(self, lengths):
        if ((self.lengths - lengths) < 0).any() or lengths.lt(0).any():
            raise ValueError("more than there is")
        self.lengths = lengths + 0
        self.in_layer[:] = lengths

    def reorder(self, rows):
        for name in ("k", "v"):
            setattr(self, name, getattr(self, name).index_select(1, rows))
        self.lengths, self.in_layer = self.lengths[rows], self.in_layer[:, rows]


def cached_forward(decoder, tokens, counts, cache):
    new = tokens.shape[1]
    end = cache.lengths + counts
    if counts.lt(0).any() or counts.gt(new).any() or end.gt(cache.max_length).any():
        raise ValueError("no room, or no such tokens")
    positions = torch.minimum(
        cache.lengths.unsqueeze(1) + torch.arange(new, device=tokens.device), (end - 1).clamp(min=0).unsqueeze(1)
    )

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    with torch.inference_mode():
        logits = decoder(tokens, positions, attend)
    cache.advance(counts)
    return logits


def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    """Rows that have ended leave the batch: the others' rows are moved up, and a smaller cache takes over."""
    if max_new_tokens < 0 or not all(prompts):
        raise ValueError("bad arguments")
    weight = decoder.norm.weight
    answers = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    width = max(len(prompt) for prompt in prompts)
    cache = KVCache(
        decoder.layers,
        len(rows),
        decoder.heads,
        width + max_new_tokens,
        decoder.head_dim,
        dtype=weight.dtype,
        device=weight.device,
    )
    feed = [list(prompt) for prompt in prompts]
    for step in range(max_new_tokens):
        counts = torch.tensor([len(text) for text in feed], device=weight.device)
        padded = [text + [text[0]] * (int(counts.max()) - len(text)) for text in feed]
        logits = cached_forward(decoder, torch.tensor(padded, device=weight.device), counts, cache)
        best = logits[torch.arange(len(feed), device=weight.device), counts - 1].argmax(-1).tolist()
        for row, token in zip(rows, best, strict=True):
            answers[row].append(token)
        going = [i for i, token in enumerate(best) if token != eos_token]
        if not going or step == max_new_tokens - 1:
            break
        keep = torch.tensor(going, device=weight.device)
        cache.reorder(keep)
        feed, rows = [[best[i]] for i in going], [rows[i] for i in going]
    return answers
