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
        # kata: begin
        if min(blocks, block_size, heads, head_dim) < 1:
            raise ValueError("blocks, block_size, heads and head_dim must be at least 1")
        self.block_size = block_size
        # Zeros: a masked slot has the weight 0, and 0 times a NaN from uninitialised memory would be NaN.
        self.memory = torch.zeros(2, blocks, block_size, heads, head_dim, dtype=dtype, device=device)  # keys, values
        self.unused = list(range(blocks))
        self.references: Counter[int] = Counter()  # how many tables hold a block
        self.tables: dict[Hashable, list[int]] = {}
        self.lengths: dict[Hashable, int] = {}
        # kata: end

    # kata: begin
    def _existing(self, seq: Hashable) -> list[int]:
        if seq not in self.tables:
            raise ValueError(f"there is no sequence {seq!r}")
        return self.tables[seq]

    def _take(self) -> int:
        block = self.unused.pop()
        self.references[block] = 1
        return block

    def _drop(self, block: int) -> bool:
        self.references[block] -= 1
        if self.references[block]:
            return False
        self.unused.append(block)
        return True

    # kata: end

    @property
    def free_blocks(self) -> int:
        # kata: begin
        return len(self.unused)
        # kata: end

    def length(self, seq: Hashable) -> int:
        """The number of tokens in the sequence."""
        # kata: begin
        self._existing(seq)
        return self.lengths[seq]
        # kata: end

    def table(self, seq: Hashable) -> list[int]:
        """The sequence's blocks in the order of its tokens, numbered from 0. The list belongs to the caller."""
        # kata: begin
        return list(self._existing(seq))
        # kata: end

    def create(self, seq: Hashable, blocks: Sequence[int] = ()) -> None:
        """A new sequence that begins with the tokens of these full blocks, and shares them; empty without any.

        They are different blocks, as `PrefixIndex.lookup` gives them. Raises ValueError if no table holds one of them.
        """
        # kata: begin
        if seq in self.tables:
            raise ValueError(f"there is a sequence {seq!r} already")
        if not all(self.references[block] for block in blocks):
            raise ValueError(f"one of the blocks {list(blocks)} is free")
        self.references.update(blocks)
        self.tables[seq] = list(blocks)
        self.lengths[seq] = len(blocks) * self.block_size
        # kata: end

    def append(self, seq: Hashable, k: Float[Tensor, "heads n head_dim"], v: Float[Tensor, "heads n head_dim"]) -> None:
        """Stores n tokens, 0 or more, behind those of the sequence, rounded to the pool's dtype and without a graph.

        The last block is filled before a new one is taken. If it has room, but other tables hold it too, then this
        sequence gets a copy of it in its place before anything is written; no other block is ever copied, and no block
        for n = 0. What the other sequences hold does not change.

        Raises MemoryError if there are too few free blocks for all of the tokens and that copy.
        """
        # kata: begin
        table, length, new = self._existing(seq), self.length(seq), k.shape[1]
        if new == 0:
            return
        first, slot = divmod(length, self.block_size)  # where the first new token goes
        shared = slot > 0 and self.references[table[-1]] > 1
        missing = -(-(length + new) // self.block_size) - len(table)
        if missing + shared > len(self.unused):
            raise MemoryError(f"{missing + shared} blocks are needed, {len(self.unused)} are free")
        if shared:
            copy = self._take()
            self.memory[:, copy] = self.memory[:, table[-1]]
            self._drop(table[-1])
            table[-1] = copy
        table.extend(self._take() for _ in range(missing))
        place = slot + torch.arange(new, device=self.memory.device)
        block = torch.tensor(table[first:], device=self.memory.device)[place // self.block_size]
        tokens = torch.stack([k, v]).detach().transpose(1, 2)  # [2, n, heads, head_dim]
        self.memory[:, block, place % self.block_size] = tokens.to(self.memory.dtype)
        self.lengths[seq] = length + new
        # kata: end

    def fork(self, parent: Hashable, child: Hashable) -> None:
        """A new sequence with the tokens of `parent`. It shares all blocks, the last one too, and copies none."""
        # kata: begin
        self.create(child, self._existing(parent))
        self.lengths[child] = self.lengths[parent]
        # kata: end

    def free(self, seq: Hashable) -> list[int]:
        """Forgets the sequence. Returns those of its blocks that are free now, in any order: an index evicts them."""
        # kata: begin
        table = self._existing(seq)
        del self.tables[seq], self.lengths[seq]
        return [block for block in table if self._drop(block)]
        # kata: end

    def attend(
        self, seqs: Sequence[Hashable], q: Float[Tensor, "batch heads head_dim"]
    ) -> Float[Tensor, "batch heads head_dim"]:
        """The answer to one query for each of the sequences, over all of its tokens, computed in q's dtype.

        A sequence may be named several times, each time with a query of its own. Raises ValueError if one is empty.
        """
        # kata: begin
        lengths = torch.tensor([self.length(seq) for seq in seqs], device=q.device)
        if not lengths.all():
            raise ValueError("a sequence without tokens has no answer")
        tables = [self.tables[seq] for seq in seqs]
        longest = max(map(len, tables))
        padded = [table + [0] * (longest - len(table)) for table in tables]  # any block will do: it is masked below
        # [2, batch, blocks, slots, heads, head_dim] -> two of [batch, heads, tokens, head_dim]
        keys, values = self.memory[:, torch.tensor(padded, device=q.device)].flatten(2, 3).transpose(2, 3).to(q.dtype)
        stored = torch.arange(keys.shape[2], device=q.device) < lengths[:, None]  # [batch, tokens]
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=stored[:, None, None])[:, :, 0]
        # kata: end


class PrefixIndex:
    """Which blocks hold the prefixes of earlier prompts.

    A block is known by its tokens and by all tokens before them, for its keys and values depend on those too. Tokens are
    compared, not hashes alone; they are ints, and negative ones, as placeholders of images, are tokens too. The index
    holds no references: before a block is used anew, its owner calls `evict`.
    """

    def __init__(self, block_size: int) -> None:
        """Raises ValueError if block_size is below 1."""
        # kata: begin
        if block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {block_size}")
        self.block_size = block_size
        # A block's key is the number of the block before it (0 if none) and its own tokens. Numbers are never used again,
        # unlike blocks, so nothing can be found behind a block that was evicted.
        self.entries: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}  # key -> its number, its block
        self.keys: dict[int, tuple[int, tuple[int, ...]]] = {}  # of each block
        self.numbers = itertools.count(1)
        # kata: end

    # kata: begin
    def _full(self, tokens: Sequence[int]) -> Iterator[tuple[int, ...]]:
        for end in range(self.block_size, len(tokens) + 1, self.block_size):
            yield tuple(tokens[end - self.block_size : end])

    # kata: end

    def lookup(self, tokens: Sequence[int]) -> list[int]:
        """The blocks of the longest known prefix, in order; they hold full blocks of the prompt `tokens`.

        The prompt's last token is never among theirs, because it must be computed to give logits.
        """
        # kata: begin
        parent, blocks = 0, []
        for own in self._full(tokens[:-1]):
            if (parent, own) not in self.entries:
                break
            parent, block = self.entries[parent, own]
            blocks.append(block)
        return blocks
        # kata: end

    def insert(self, tokens: Sequence[int], blocks: Sequence[int]) -> None:
        """Makes the full blocks of `tokens` known, which lie in `blocks`, a sequence's table.

        A last block that is not full is left out. A prefix that is known already keeps the block that it has.
        """
        # kata: begin
        parent = 0
        for own, block in zip(self._full(tokens), blocks, strict=False):
            key = parent, own
            if key not in self.entries:
                self.entries[key] = next(self.numbers), block
                self.keys[block] = key
            parent, _ = self.entries[key]
        # kata: end

    def evict(self, block: int) -> None:
        """Forgets the block, if it is known. Nothing is found any more through it, and so nothing behind it."""
        # kata: begin
        if block in self.keys:
            del self.entries[self.keys.pop(block)]
        # kata: end
