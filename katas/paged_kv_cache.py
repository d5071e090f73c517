"""The paged KV cache.

Keep keys and values in blocks: write the allocator, the block tables, attention through a table, and sharing of prefixes
with copy on write. How much memory is wasted, and what does a fork cost?

A sequence has a table of blocks of block_size slots each. Its token at position p lies in block table[p // block_size],
at slot p % block_size:
    answer = softmax(q k_0 / sqrt(head_dim), ..., q k_{length-1} / sqrt(head_dim)) (v_0, ..., v_{length-1})

A sequence of n tokens has ceil(n / block_size) blocks, none when it is empty. Several tables may hold the same block. It
is free again when no table holds it any more.

This is the cache of one layer. A model has one for each, gets the same calls in each of them, and calls append before
attend. Equal calls to two new caches give equal tables, so one PrefixIndex serves all layers.

Rules: all of torch may be used, F.scaled_dot_product_attention too. No argument is modified. Which free block is taken
next is free, and so is how the blocks lie in memory. Sequences are named by any hashable value.

Stage 1: append, tables, attention.  Stage 2: free, a pool that runs out, many sequences, wrong arguments.  Stage 3: fork,
copy on write, dtypes, uninitialised memory.  Stage 4: prefixes; what a step costs. append writes its tokens and copies at
most one block, fork copies none. attend reads the blocks of its sequences, padded to the longest of them, and not the
pool. No number of operators grows with the number of tokens.

Sources: Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention" (2023), sections
4.1 to 4.4; Zheng et al., "SGLang" (2024), section 3, for another index of prefixes.
"""

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class PagedKVCache:
    """Keys and values of many sequences in one pool of `blocks` blocks, of `block_size` tokens each.

    Attributes:
        free_blocks: int, the number of blocks that no table holds; all of them at first.

    All methods raise ValueError for a sequence that does not exist, and create and fork for a new one that does. Nothing
    has changed after an error. What a block holds beyond the tokens of a sequence, be it uninitialised or another's, has
    no influence, as long as what was appended is finite.
    """

    def __init__(
        self,
        blocks: int,
        block_size: int,
        heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        """The pool has this dtype and is on this device. Raises ValueError if a size is below 1."""
        raise NotImplementedError("paged_kv_cache.PagedKVCache.__init__: write me")

    @property
    def free_blocks(self) -> int:
        raise NotImplementedError("paged_kv_cache.PagedKVCache.free_blocks: write me")

    def length(self, seq: Hashable) -> int:
        """The number of tokens in the sequence."""
        raise NotImplementedError("paged_kv_cache.PagedKVCache.length: write me")

    def table(self, seq: Hashable) -> list[int]:
        """The sequence's blocks in the order of its tokens, numbered from 0. The list belongs to the caller."""
        raise NotImplementedError("paged_kv_cache.PagedKVCache.table: write me")

    def create(self, seq: Hashable, blocks: Sequence[int] = ()) -> None:
        """A new sequence that begins with the tokens of these full blocks, and shares them; empty without any.

        They are different blocks, as `PrefixIndex.lookup` gives them. Raises ValueError if no table holds one of them.
        """
        raise NotImplementedError("paged_kv_cache.PagedKVCache.create: write me")

    def append(self, seq: Hashable, k: Float[Tensor, "heads n head_dim"], v: Float[Tensor, "heads n head_dim"]) -> None:
        """Stores n tokens, 0 or more, behind those of the sequence, rounded to the pool's dtype and without a graph.

        The last block is filled before a new one is taken. If it has room, but other tables hold it too, then this
        sequence gets a copy of it in its place before anything is written; no other block is ever copied, and no block
        for n = 0. What the other sequences hold does not change.

        Raises MemoryError if there are too few free blocks for all of the tokens and that copy.
        """
        raise NotImplementedError("paged_kv_cache.PagedKVCache.append: write me")

    def fork(self, parent: Hashable, child: Hashable) -> None:
        """A new sequence with the tokens of `parent`. It shares all blocks, the last one too, and copies none."""
        raise NotImplementedError("paged_kv_cache.PagedKVCache.fork: write me")

    def free(self, seq: Hashable) -> list[int]:
        """Forgets the sequence. Returns those of its blocks that are free now, in any order: an index evicts them."""
        raise NotImplementedError("paged_kv_cache.PagedKVCache.free: write me")

    def attend(
        self, seqs: Sequence[Hashable], q: Float[Tensor, "batch heads head_dim"]
    ) -> Float[Tensor, "batch heads head_dim"]:
        """The answer to one query for each of the sequences, over all of its tokens, computed in q's dtype.

        A sequence may be named several times, each time with a query of its own. Raises ValueError if one is empty.
        """
        raise NotImplementedError("paged_kv_cache.PagedKVCache.attend: write me")


class PrefixIndex:
    """Which blocks hold the prefixes of earlier prompts.

    A block is known by its tokens and by all tokens before them, for its keys and values depend on those too. Tokens are
    compared, not hashes alone; they are ints, and negative ones, as placeholders of images, are tokens too. The index
    holds no references: before a block is used anew, its owner calls `evict`.
    """

    def __init__(self, block_size: int) -> None:
        """Raises ValueError if block_size is below 1."""
        raise NotImplementedError("paged_kv_cache.PrefixIndex.__init__: write me")

    def lookup(self, tokens: Sequence[int]) -> list[int]:
        """The blocks of the longest known prefix, in order; they hold full blocks of the prompt `tokens`.

        The prompt's last token is never among theirs, because it must be computed to give logits.
        """
        raise NotImplementedError("paged_kv_cache.PrefixIndex.lookup: write me")

    def insert(self, tokens: Sequence[int], blocks: Sequence[int]) -> None:
        """Makes the full blocks of `tokens` known, which lie in `blocks`, a sequence's table.

        A last block that is not full is left out. A prefix that is known already keeps the block that it has.
        """
        raise NotImplementedError("paged_kv_cache.PrefixIndex.insert: write me")

    def evict(self, block: int) -> None:
        """Forgets the block, if it is known. Nothing is found any more through it, and so nothing behind it."""
        raise NotImplementedError("paged_kv_cache.PrefixIndex.evict: write me")
