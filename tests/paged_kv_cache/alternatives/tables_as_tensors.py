"""Tables in a tensor, a row for each sequence and -1 where there is no block; counts in a tensor; boolean free mask; bmm."""

import torch


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        if torch.tensor([blocks, block_size, heads, head_dim]).le(0).any():
            raise ValueError("sizes")
        self.bs = block_size
        self.k = torch.zeros(heads, blocks * block_size, head_dim, dtype=dtype, device=device)
        self.v = torch.zeros(heads, blocks * block_size, head_dim, dtype=dtype, device=device)
        self.refs = torch.zeros(blocks, dtype=torch.int64)
        self.rows = {}
        self.tables = torch.full((4, blocks), -1)
        self.lengths = torch.zeros(4, dtype=torch.int64)

    @property
    def free_blocks(self):
        return int((self.refs == 0).sum())

    def row(self, seq):
        if seq not in self.rows:
            raise ValueError(f"{seq}?")
        return self.rows[seq]

    def length(self, seq):
        return int(self.lengths[self.row(seq)])

    def table(self, seq):
        row = self.tables[self.row(seq)]
        return row[row >= 0].tolist()

    def create(self, seq, blocks=()):
        if seq in self.rows:
            raise ValueError(f"{seq}!")
        if any(not 0 <= block < len(self.refs) or self.refs[block] == 0 for block in blocks):
            raise ValueError("blocks")
        row = next(number for number in range(len(self.rows) + 1) if number not in self.rows.values())
        if row == len(self.tables):
            self.tables = torch.cat([self.tables, torch.full_like(self.tables, -1)])
            self.lengths = torch.cat([self.lengths, torch.zeros_like(self.lengths)])
        self.rows[seq] = row
        self.tables[row] = -1
        self.tables[row, : len(blocks)] = torch.tensor(blocks, dtype=torch.int64)
        self.lengths[row] = len(blocks) * self.bs
        self.refs.index_add_(0, torch.tensor(blocks, dtype=torch.int64), torch.ones(len(blocks), dtype=torch.int64))

    def append(self, seq, k, v):
        row, n = self.row(seq), k.shape[1]
        if not n:
            return
        length = self.length(seq)
        have, need = (length + self.bs - 1) // self.bs, (length + n + self.bs - 1) // self.bs
        last = int(self.tables[row, have - 1]) if length % self.bs else -1
        shared = last >= 0 and int(self.refs[last]) > 1
        free = (self.refs == 0).nonzero().flatten()
        if len(free) < need - have + shared:
            raise MemoryError("out of blocks")
        taken = free[: need - have + shared]
        self.refs[taken] = 1
        self.tables[row, have - shared : need] = taken
        offsets = torch.arange(self.bs)
        if shared:
            self.refs[last] -= 1
            for pool in (self.k, self.v):
                pool[:, int(taken[0]) * self.bs + offsets] = pool[:, last * self.bs + offsets]
        position = torch.arange(length, length + n)
        slots = (self.tables[row, position // self.bs] * self.bs + position % self.bs).to(self.k.device)
        for pool, given in ((self.k, k), (self.v, v)):
            pool.index_copy_(1, slots, given.detach().to(pool.dtype))
        self.lengths[row] += n

    def fork(self, parent, child):
        length = self.length(parent)
        self.create(child, self.table(parent))
        self.lengths[self.rows[child]] = length

    def free(self, seq):
        table = torch.tensor(self.table(seq), dtype=torch.int64)
        del self.rows[seq]
        self.refs[table] -= 1
        return table[self.refs[table] == 0].tolist()

    def attend(self, seqs, q):
        rows = [self.row(seq) for seq in seqs]
        lengths = self.lengths[rows]
        if (lengths == 0).any():
            raise ValueError("empty")
        position = torch.arange(int(lengths.max()))
        seen = (position < lengths[:, None]).to(q.device)
        slots = self.tables[rows][:, position // self.bs].clamp(min=0) * self.bs + position % self.bs
        k, v = (pool[:, slots.to(q.device)].to(q.dtype).transpose(0, 1).flatten(0, 1) for pool in (self.k, self.v))
        scores = torch.bmm(q.flatten(0, 1)[:, None], k.mT).div(q.shape[-1] ** 0.5).unflatten(0, q.shape[:2])
        weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
        return torch.bmm(weights.flatten(0, 1), v)[:, 0].unflatten(0, q.shape[:2])


class PrefixIndex:
    """A list of chains, compared one by one."""

    def __init__(self, block_size):
        if block_size < 1:
            raise ValueError("block_size < 1")
        self.block_size, self.chains = block_size, []

    def find(self, tokens, end):
        return next((block for text, block in self.chains if text == list(tokens[:end])), None)

    def lookup(self, tokens):
        blocks, end = [], self.block_size
        while end <= len(tokens) - 1 and (block := self.find(tokens, end)) is not None:
            blocks, end = [*blocks, block], end + self.block_size
        return blocks

    def insert(self, tokens, blocks):
        for number in range(len(tokens) // self.block_size):
            end = (number + 1) * self.block_size
            if self.find(tokens, end) is None:
                self.chains.append((list(tokens[:end]), blocks[number]))

    def evict(self, block):
        self.chains = [chain for chain in self.chains if chain[1] != block]
