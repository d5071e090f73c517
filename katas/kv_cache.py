"""The KV cache.

This decoder computes the whole text again for each new token. Add a cache of keys and values. The prompts in a batch
differ in length. Prove that the output is the same.

Token t of a row has position t, counted without padding, and attends to tokens 0 to t of its own row:
    answer_t = softmax(q_t k_0 / sqrt(head_dim), ..., q_t k_t / sqrt(head_dim)) (v_0, ..., v_t)
Its key and value do not depend on later tokens. So they are stored once, and a step computes the new tokens alone.

A batch of new tokens is padded on the right: row b of [batch, new] begins with counts[b] real tokens, 0 to new of them.
What the padding holds has no influence, it is never stored, and the output at its places is free.

Rules: all of torch may be used, F.scaled_dot_product_attention too. Decoder and uncached_forward are given: use them as
they are. No argument is modified. Every layout of the cache inside is right, as long as its size is fixed from the
beginning (reorder may replace it). There are no ties between logits.

Stage 1: prefill and decoding of texts of equal length.  Stage 2: unequal lengths, prompts in chunks, a full cache, eos,
wrong arguments.  Stage 3: truncate, reorder, dtypes, no graph.  Stage 4: one step costs attention over what is stored,
not over the capacity, and copies none of it: at 1000 stored tokens of q's dtype it allocates less than a quarter of one
layer's stored keys.

Sources: Vaswani et al., "Attention Is All You Need" (2017); Shazeer, "Fast Transformer Decoding" (2019), for what a
step costs; Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023), for truncate.
"""

from collections.abc import Callable, Sequence
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
    """Keys and values of up to `max_length` tokens in each row, for all layers.

    Attributes:
        lengths: Int64[batch], the number of tokens stored in each row; all 0 at first.
        nbytes: the size of the capacity, 2 * layers * batch * heads * max_length * head_dim times the bytes of dtype.

    A step is write and then attend for each layer, with the same counts, and one advance after the last layer. Until
    then `lengths` stays, so a write that is repeated replaces the one before. What the memory holds beyond the stored
    tokens, be it uninitialised, has no influence, as long as what was written is finite. The cache keeps copies of what
    it is given, of `lengths` in truncate too.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        heads: int,
        max_length: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        """Allocates all of it, once, in this dtype and on this device (where `lengths` is too)."""
        raise NotImplementedError("kv_cache.KVCache.__init__: write me")

    def write(
        self,
        layer: int,
        k: Float[Tensor, "batch heads new head_dim"],
        v: Float[Tensor, "batch heads new head_dim"],
        counts: Int64[Tensor, "batch"],
    ) -> None:
        """Stores the first counts[b] tokens of row b behind the lengths[b] that it has.

        They are rounded to the cache's dtype and carry no graph. Raises ValueError, before anything is written, if a
        count is outside [0, new], or if a row would hold more than max_length tokens.
        """
        raise NotImplementedError("kv_cache.KVCache.write: write me")

    def attend(
        self, layer: int, q: Float[Tensor, "batch heads new head_dim"], counts: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch heads new head_dim"]:
        """Answers to the new tokens' queries, computed in q's dtype, from what `write` has stored.

        Query i of row b is that of token lengths[b] + i, so it attends to the row's stored tokens, to the first i new
        ones and to itself. The answers to queries from counts[b] on are free.
        """
        raise NotImplementedError("kv_cache.KVCache.attend: write me")

    def advance(self, counts: Int64[Tensor, "batch"]) -> None:
        """Ends a step: the counts[b] tokens that every layer has written are stored from now on."""
        raise NotImplementedError("kv_cache.KVCache.advance: write me")

    def truncate(self, lengths: Int64[Tensor, "batch"]) -> None:
        """Forgets all but the first lengths[b] tokens of row b, as after drafts that were rejected.

        Raises ValueError, and changes nothing, if a length is below 0 or more than its row holds.
        """
        raise NotImplementedError("kv_cache.KVCache.truncate: write me")

    def reorder(self, rows: Int64[Tensor, "batch"]) -> None:
        """Row i becomes a copy of row rows[i] as it was, as after a step of beam search. Rows may repeat or vanish."""
        raise NotImplementedError("kv_cache.KVCache.reorder: write me")


def cached_forward(
    decoder: Decoder, tokens: Int64[Tensor, "batch new"], counts: Int64[Tensor, "batch"], cache: KVCache
) -> Float[Tensor, "batch new vocab"]:
    """Logits of the real tokens as if each row's whole text were computed; afterwards `cache` holds them too.

    Row b has counts[b] real tokens, then padding, whose tokens are valid ones. One call of the decoder. The logits carry
    no graph. Raises ValueError, and leaves the cache as it was, if a count is outside [0, new] or a row would become too
    long for the cache.
    """
    raise NotImplementedError("kv_cache.cached_forward: write me")


def generate(
    decoder: Decoder, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, eos_token: int | None = None
) -> list[list[int]]:
    """The tokens that greedy decoding adds to each prompt, at most max_new_tokens, as if it were alone.

    A row ends with its eos_token, which is part of the answer; the others go on. The decoder is called once for all
    prompts, then once for each further token, and not again when no row needs its logits. The last token of a row's
    answer is never fed, so a prompt and its answer may fill max_positions + 1 places. The cache has the weights' dtype
    and device.

    Raises ValueError if a prompt is empty, or max_new_tokens negative.
    """
    raise NotImplementedError("kv_cache.generate: write me")
