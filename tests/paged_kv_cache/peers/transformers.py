"""transformers' ledger of blocks, the part of its paged cache that counts references and knows prefixes by their hashes. Its
own forks copy a last block that is not full at once, so copying on write is put together here, and so is the rest."""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers.generation.continuous_batching.cache_allocators.cache_allocator import BlockLedger, compute_block_hash


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        if min(blocks, block_size, heads, head_dim) < 1:
            raise ValueError("sizes must be at least 1")
        self.ledger, self.block_size = BlockLedger(), block_size
        self.memory = torch.zeros(2, blocks, block_size, heads, head_dim, dtype=dtype, device=device)
        self.unused, self.tables, self.lengths = list(range(blocks)), {}, {}

    @property
    def free_blocks(self) -> int:
        return len(self.unused)

    def length(self, seq: Hashable) -> int:
        self.table(seq)
        return self.lengths[seq]

    def table(self, seq: Hashable) -> list[int]:
        if seq not in self.tables:
            raise ValueError(f"no sequence {seq!r}")
        return list(self.tables[seq])

    def create(self, seq: Hashable, blocks: Sequence[int] = ()) -> None:
        held = {block for table in self.tables.values() for block in table}
        if seq in self.tables or not held.issuperset(blocks):
            raise ValueError(f"{seq!r} exists, or one of {blocks} is free")
        for block in blocks:
            self.ledger.acquire(block)
        self.tables[seq], self.lengths[seq] = list(blocks), len(blocks) * self.block_size

    def append(self, seq: Hashable, k: Float[Tensor, "heads n head_dim"], v: Float[Tensor, "heads n head_dim"]) -> None:
        table, length, new = self.table(seq), self.length(seq), k.shape[1]
        first, slot = divmod(length, self.block_size)
        missing = -(-(length + new) // self.block_size) - len(table)
        shared = new > 0 and slot > 0 and table[-1] in self.ledger.shared_ref_counts
        if missing + shared > len(self.unused):
            raise MemoryError("too few blocks")
        if shared:
            copy = self.unused.pop()
            self.memory[:, copy] = self.memory[:, table[-1]]
            self.ledger.release(table[-1])
            table[-1] = copy
        table += [self.unused.pop() for _ in range(missing)]
        places = slot + torch.arange(new, device=self.memory.device)
        blocks = torch.tensor(table[first:], dtype=torch.int64, device=self.memory.device)[places // self.block_size]
        tokens = torch.stack([k, v]).detach().transpose(1, 2)
        self.memory[:, blocks, places % self.block_size] = tokens.to(self.memory.dtype)
        self.tables[seq], self.lengths[seq] = table, length + new

    def fork(self, parent: Hashable, child: Hashable) -> None:
        self.create(child, self.table(parent))
        self.lengths[child] = self.lengths[parent]

    def free(self, seq: Hashable) -> list[int]:
        released = [block for block in self.table(seq) if self.ledger.release(block)]
        del self.tables[seq], self.lengths[seq]
        self.unused += released
        return released

    def attend(self, seqs: Sequence[Hashable], q: Float[Tensor, "batch heads d"]) -> Float[Tensor, "batch heads d"]:
        answers = []
        for seq, query in zip(seqs, q, strict=True):
            if self.length(seq) == 0:
                raise ValueError(f"{seq!r} is empty")
            tokens = self.memory[:, self.tables[seq]].flatten(1, 2)[:, : self.lengths[seq]].transpose(1, 2)
            answers.append(F.scaled_dot_product_attention(query[:, None], *tokens.to(q.dtype))[:, 0])
        return torch.stack(answers)


class PrefixIndex:
    def __init__(self, block_size: int) -> None:
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self.block_size, self.ledger = block_size, BlockLedger()

    def hashes(self, tokens):
        parent = None
        for end in range(self.block_size, len(tokens) + 1, self.block_size):
            parent = compute_block_hash(parent, tokens[end - self.block_size : end])
            yield parent

    def lookup(self, tokens: Sequence[int]) -> list[int]:
        blocks = []
        for known in self.hashes(tokens[:-1]):
            if known not in self.ledger.hash_to_block:
                break
            blocks.append(self.ledger.hash_to_block[known])
        return blocks

    def insert(self, tokens: Sequence[int], blocks: Sequence[int]) -> None:
        for block, new in zip(blocks, self.hashes(tokens), strict=False):
            self.ledger.register_new_hash(block, new)

    def evict(self, block: int) -> None:
        if block in self.ledger.block_to_hash:
            del self.ledger.hash_to_block[self.ledger.block_to_hash.pop(block)]
