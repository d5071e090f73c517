"""A spare place behind the last one takes the padding, so that scatter_ writes whole chunks. Batched matrix products,
the mask filled in before torch.softmax."""

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
        self.max_length = max_length
        self.memory = torch.zeros(2, layers, batch, heads, max_length + 1, head_dim, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.nbytes = 2 * layers * batch * heads * max_length * head_dim * dtype.itemsize

    def write(self, layer, k, v, counts):
        new = k.shape[2]
        if not all(0 <= count <= new for count in counts.tolist()):
            raise ValueError("counts")
        if int((self.lengths + counts).max()) > self.max_length:
            raise ValueError("too long")
        offset = torch.arange(new, device=k.device)
        place = torch.where(offset < counts[:, None], self.lengths[:, None] + offset, self.max_length)
        place = place[:, None, :, None].expand(k.shape)
        for memory, given in zip(self.memory[:, layer], (k, v), strict=True):
            memory.scatter_(2, place, given.detach().to(memory.dtype))

    def attend(self, layer, q, counts):
        upto = int((self.lengths + counts).max())
        keys, values = self.memory[:, layer, :, :, :upto]
        query_place = self.lengths[:, None] + torch.arange(q.shape[2], device=q.device)
        hidden = torch.arange(upto, device=q.device) > query_place.unsqueeze(-1)
        scores = torch.matmul(q / q.shape[-1] ** 0.5, keys.to(q.dtype).mT)
        scores = scores.masked_fill(hidden[:, None], float("-inf"))
        return torch.matmul(torch.softmax(scores, dim=-1), values.to(q.dtype))

    def advance(self, counts):
        self.lengths += counts

    def truncate(self, lengths):
        if not torch.all((0 <= lengths) & (lengths <= self.lengths)):
            raise ValueError("truncate can only shorten")
        self.lengths = torch.minimum(self.lengths, lengths)

    def reorder(self, rows):
        self.memory = self.memory[:, :, rows]
        self.lengths = self.lengths[rows]


def cached_forward(decoder, tokens, counts, cache):
    new = tokens.shape[1]
    if bool((counts > new).any()) or bool((counts < 0).any()):
        raise ValueError("counts")
    if bool((cache.lengths + counts > cache.max_length).any()):
        raise ValueError("too long")
    offset = torch.arange(new, device=tokens.device)
    positions = torch.where(offset < counts[:, None], cache.lengths[:, None] + offset, 0)

    def attend(layer, q, k, v):
        cache.write(layer, k, v, counts)
        return cache.attend(layer, q, counts)

    logits = decoder(tokens, positions, attend).detach()
    cache.advance(counts)
    return logits


@torch.no_grad()
def generate(decoder, prompts, max_new_tokens, *, eos_token=None):
    lengths = [len(prompt) for prompt in prompts]
    if 0 in lengths:
        raise ValueError("empty prompt")
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens")
    like = {"dtype": decoder.embed.weight.dtype, "device": decoder.embed.weight.device}
    cache = KVCache(
        decoder.layers, len(prompts), decoder.heads, max(lengths) + max_new_tokens, decoder.head_dim, **like
    )
    tokens = torch.full((len(prompts), max(lengths)), prompts[0][0], device=like["device"])
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    counts = torch.tensor(lengths, device=like["device"])
    texts = [[] for _ in prompts]
    for step in range(max_new_tokens):
        logits = cached_forward(decoder, tokens, counts, cache)
        after = []
        for row, count in enumerate(counts.tolist()):
            ended = count == 0
            if not ended:
                texts[row].append(int(torch.argmax(logits[row, count - 1])))
                ended = texts[row][-1] == eos_token
            after.append(0 if ended else 1)
        if step + 1 == max_new_tokens or not any(after):
            break
        tokens = torch.tensor([[text[-1]] for text in texts], device=like["device"])
        counts = torch.tensor(after, device=like["device"])
    return texts
