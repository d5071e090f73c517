"""Keys and values side by side in one tensor with the batch in front; einsum, torch.where for the mask and for padding,
and a decoding loop over a tensor of texts that is cut after eos in the end."""

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
    lengths: Tensor
    nbytes: int

    def __init__(self, layers, batch, heads, max_length, head_dim, *, dtype=torch.float32, device=None):
        self.kv = torch.zeros((batch, layers, heads, max_length, 2 * head_dim), dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.nbytes = self.kv.numel() * self.kv.element_size()

    def check(self, counts, new):
        if torch.any(counts != counts.clamp(0, new)):
            raise ValueError("each count lies between 0 and the number of new tokens")
        if torch.any(self.lengths + counts > self.kv.shape[3]):
            raise ValueError("the capacity is exceeded")

    def write(self, layer, k, v, counts):
        self.check(counts, k.shape[2])
        with torch.no_grad():
            new = torch.cat([k, v], -1).to(self.kv.dtype)
            for row in range(len(new)):
                n, at = int(counts[row]), int(self.lengths[row])
                self.kv[row, layer].narrow(1, at, n).copy_(new[row].narrow(1, 0, n))

    def attend(self, layer, q, counts):
        ends = self.lengths + counts
        upto, dim = int(ends.max()), q.shape[-1]
        kv = self.kv[:, layer, :, :upto].to(q.dtype)
        logits = torch.einsum("bhid,bhjd->bhij", q, kv[..., :dim]) * dim**-0.5
        i = torch.arange(q.shape[2], device=q.device)[None, :, None] + self.lengths[:, None, None]
        j = torch.arange(upto, device=q.device)
        seen = (j <= i) & (j < ends[:, None, None])
        weights = torch.where(seen[:, None], logits, -torch.inf).softmax(-1)  # NaN for padding in empty rows
        return torch.einsum("bhij,bhjd->bhid", weights, kv[..., dim:])

    def advance(self, counts):
        self.lengths = torch.add(self.lengths, counts)

    def truncate(self, lengths):
        if torch.any(lengths != torch.minimum(lengths, self.lengths).clamp(min=0)):
            raise ValueError("lengths can only shrink")
        self.lengths = lengths.clone()

    def reorder(self, rows):
        self.kv, self.lengths = self.kv[rows], self.lengths[rows]


def cached_forward(decoder, tokens, counts, cache):
    cache.check(counts, tokens.shape[1])
    real = torch.arange(tokens.shape[1], device=tokens.device) < counts[:, None]
    positions = (real.cumsum(1) - 1 + cache.lengths[:, None]) * real

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    with torch.no_grad():
        logits = decoder(tokens=tokens, positions=positions, attend=attend)
    cache.advance(counts)
    return logits


def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens is negative")
    if min(len(prompt) for prompt in prompts) < 1:
        raise ValueError("a prompt is empty")
    weight = decoder.head.weight
    counts = torch.tensor([len(prompt) for prompt in prompts], device=weight.device)
    real = torch.arange(int(counts.max()), device=weight.device) < counts[:, None]
    tokens = torch.zeros(real.shape, dtype=torch.int64, device=weight.device)
    tokens[real] = torch.tensor([token for prompt in prompts for token in prompt], device=weight.device)
    size = int(counts.max()) + max(0, max_new_tokens - 1)
    cache = KVCache(
        decoder.layers, len(prompts), decoder.heads, size, decoder.head_dim, dtype=weight.dtype, device=weight.device
    )
    texts = torch.zeros(len(prompts), 0, dtype=torch.int64, device=weight.device)
    alive = torch.ones_like(counts, dtype=torch.bool)
    while texts.shape[1] < max_new_tokens and alive.any():
        logits = cached_forward(decoder, tokens, counts, cache)
        last = (counts - 1).clamp(min=0)[:, None, None].expand(-1, 1, logits.shape[-1])
        tokens = logits.gather(1, last).argmax(-1)
        texts = torch.cat([texts, tokens], 1)
        if eos_token is not None:
            alive = alive & (tokens[:, 0] != eos_token)
        counts = alive.long()
    return [text[: text.index(eos_token) + 1] if eos_token in text else text for text in texts.tolist()]
