"""All rows in one pool of slots, slot = row * max_length + place, written by index_copy_, as servers with paged caches do.
Attention by F.scaled_dot_product_attention over views of the pool, with an additive mask."""

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
        self.shape = (batch, max_length)
        self.pool = torch.zeros(layers, 2, batch * max_length, heads, head_dim, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.nbytes = self.pool.nbytes

    def refuse(self, counts, new):
        if counts.min() < 0 or counts.max() > new or (self.lengths + counts).max() > self.shape[1]:
            raise ValueError(f"{counts} new tokens at {self.lengths}")

    @torch.no_grad()
    def write(self, layer, k, v, counts):
        batch, _, new, _ = k.shape
        self.refuse(counts, new)
        offsets = torch.arange(new, device=k.device).expand(batch, new)
        real = offsets < counts[:, None]
        first = torch.arange(batch, device=k.device) * self.shape[1] + self.lengths
        slots = (first[:, None] + offsets)[real]
        both = torch.stack([k, v]).transpose(2, 3)[:, real].to(self.pool.dtype)
        self.pool[layer, 0].index_copy_(0, slots, both[0])
        self.pool[layer, 1].index_copy_(0, slots, both[1])

    def attend(self, layer, q, counts):
        upto = max(1, (self.lengths + counts).max().item())
        k, v = self.pool[layer].unflatten(1, self.shape)[:, :, :upto].transpose(2, 3).to(q.dtype)
        places = torch.arange(upto, device=q.device)
        own = self.lengths[:, None, None] + torch.arange(q.shape[2], device=q.device)[:, None]
        hidden = (places > own) | (places >= (self.lengths + counts)[:, None, None])
        additive = torch.zeros(hidden.shape, dtype=q.dtype, device=q.device).masked_fill(hidden, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=additive[:, None])

    def advance(self, counts):
        self.lengths.add_(counts)

    def truncate(self, lengths):
        if (lengths < 0).any() or (lengths > self.lengths).any():
            raise ValueError("nothing to keep there")
        self.lengths.copy_(lengths)

    def reorder(self, rows):
        pool = self.pool.unflatten(2, self.shape)
        pool.copy_(pool.index_select(2, rows))
        self.lengths.copy_(self.lengths.index_select(0, rows))


@torch.inference_mode()
def cached_forward(decoder, tokens, counts, cache):
    cache.refuse(counts, tokens.shape[1])
    positions = cache.lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
    positions = positions.clamp(max=decoder.max_positions - 1)

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    logits = decoder(tokens, positions, attend)
    cache.advance(counts)
    return logits


def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    if any(not prompt for prompt in prompts):
        raise ValueError("an empty prompt")
    if max_new_tokens < 0:
        raise ValueError("a negative number of tokens")
    device = decoder.head.weight.device
    counts = torch.tensor(list(map(len, prompts)), device=device)
    longest = int(counts.max())
    cache = KVCache(
        decoder.layers,
        len(prompts),
        decoder.heads,
        longest + max_new_tokens,
        decoder.head_dim,
        dtype=decoder.head.weight.dtype,
        device=device,
    )
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.as_tensor(prompt)
    chosen, done = [], torch.zeros(len(prompts), dtype=torch.bool, device=device)
    while len(chosen) < max_new_tokens and not done.all():
        logits = cached_forward(decoder, tokens, counts, cache)
        best = logits.argmax(-1).gather(1, (counts[:, None] - 1).clamp(min=0))
        chosen.append(best[:, 0].masked_fill(done, -1))
        done = done | (best[:, 0] == (-1 if eos_token is None else eos_token))
        tokens, counts = best, (~done).long()
    return (
        [[row.item() for row in column if row >= 0] for column in zip(*chosen, strict=True)]
        if chosen
        else [[] for _ in prompts]
    )
