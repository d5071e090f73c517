"""No counts: a block is free when no table names it. attend packs the tokens of all sequences into one row, without padding,
and its softmax goes by segments; blocks are found by a chain of digests."""

import hashlib

import torch


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        if sorted([blocks, block_size, heads, head_dim])[0] < 1:
            raise ValueError("a size is below 1")
        self.pool = torch.zeros(blocks, heads, block_size, 2 * head_dim, dtype=dtype, device=device)
        self.tables, self.lengths = {}, {}

    def held(self):
        return {block for table in self.tables.values() for block in table}

    @property
    def free_blocks(self):
        return len(self.pool) - len(self.held())

    def length(self, seq):
        self.table(seq)
        return self.lengths[seq]

    def table(self, seq):
        if seq not in self.tables:
            raise ValueError(seq)
        return self.tables[seq].copy()

    def create(self, seq, blocks=()):
        if seq in self.tables or not self.held().issuperset(blocks):
            raise ValueError(seq)
        self.tables[seq], self.lengths[seq] = list(blocks), len(blocks) * self.pool.shape[2]

    def append(self, seq, k, v):
        table, start, size = self.table(seq), self.length(seq), self.pool.shape[2]
        end = start + k.shape[1]
        if end == start:
            return
        others = {block for name, other in self.tables.items() if name != seq for block in other}
        old = table.pop() if start % size and table[-1] in others else None
        missing = (end - 1) // size + 1 - len(table)
        free = [block for block in range(len(self.pool)) if block not in others and block not in self.tables[seq]]
        if missing > len(free):
            raise MemoryError(f"{missing} > {len(free)}")
        table += free[:missing]
        if old is not None:
            self.pool[table[start // size]] = self.pool[old]
        places = torch.arange(start, end, device=self.pool.device)
        blocks = torch.tensor(table, device=self.pool.device)[places // size]
        given = torch.cat([k, v], -1).detach().permute(1, 0, 2)
        self.pool[blocks, :, places % size] = given.to(self.pool.dtype)
        self.tables[seq], self.lengths[seq] = table, end

    def fork(self, parent, child):
        self.create(child, self.table(parent))
        self.lengths[child] = self.lengths[parent]

    def free(self, seq):
        table = self.table(seq)
        del self.tables[seq], self.lengths[seq]
        return sorted(set(table) - self.held())

    def attend(self, seqs, q):
        size = self.pool.shape[2]
        lengths = [self.length(seq) for seq in seqs]
        if 0 in lengths:
            raise ValueError("nothing to attend to")
        rows, blocks, slots = [], [], []
        for row, (seq, length) in enumerate(zip(seqs, lengths, strict=True)):
            rows += [row] * length
            blocks += [block for block in self.tables[seq] for _ in range(size)][:length]
            slots += [place % size for place in range(length)]
        rows = torch.tensor(rows, device=q.device)
        wide = torch.promote_types(q.dtype, torch.float32)
        k, v = self.pool[blocks, :, slots].to(wide).chunk(2, -1)  # [tokens, heads, head_dim]
        scores = (q.to(wide)[rows] * k).sum(-1) * q.shape[-1] ** -0.5
        index = rows[:, None].expand_as(scores)
        highest = scores.new_full((len(lengths), scores.shape[1]), -torch.inf).scatter_reduce(0, index, scores, "amax")
        weights = (scores - highest[rows]).exp()
        sums = torch.zeros_like(highest).index_add(0, rows, weights)
        answers = torch.zeros(q.shape, dtype=wide, device=q.device).index_add(0, rows, weights[..., None] * v)
        return (answers / sums[..., None]).to(q.dtype)


class PrefixIndex:
    def __init__(self, block_size):
        if block_size <= 0:
            raise ValueError(block_size)
        self.block_size, self.blocks, self.digests = block_size, {}, {}

    def chain(self, tokens):
        digest = b""
        for start in range(0, len(tokens) // self.block_size * self.block_size, self.block_size):
            digest = hashlib.sha256(digest + repr(list(tokens[start : start + self.block_size])).encode()).digest()
            yield digest

    def lookup(self, tokens):
        found = []
        for digest in self.chain(tokens[: max(len(tokens) - 1, 0)]):
            if digest not in self.blocks:
                break
            found.append(self.blocks[digest])
        return found

    def insert(self, tokens, blocks):
        for digest, block in zip(self.chain(tokens), blocks, strict=False):
            if digest not in self.blocks:
                self.blocks[digest], self.digests[block] = block, digest

    def evict(self, block):
        self.blocks.pop(self.digests.pop(block, None), None)
